"""Pure rules and values: no Trio, no I/O, no clock. Time is an argument, in Unix milliseconds.

device       a device, its token, its name rules; an organisation and its key
challenge    a live code of a device, and what may end it
code_entry   a code as a person types it
policy       how long a code must be, given how many are alive
outcome      what a service answers: values, one per item of a batch
address      a client's address as a limiter key
"""
