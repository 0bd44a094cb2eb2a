"""Pure rules and values: no Trio, no I/O, no clock. Time is an argument, in Unix milliseconds.

device       a device, its token, its name rules; an organisation and its key
challenge    a live code of a device, and what may end it
code_entry   a code as a person types it
policy       how long a code must be, given how many are alive
outcome      what a service answers: values, one per item of a batch
contact      phone numbers and e-mail addresses in their one normal form
plain_email  the addresses that most people have, read quickly
phone_kind   whether a phone number can be in use, of which country and which line
phone_patterns  one pattern for all numbers of a country code and a length
phone_national  phone numbers as they are written within a country
template     the words of messages
sms_length   how many messages an SMS text takes
settings_rules  what a tenant may configure
examples     what a tenant without settings begins with
challenge_type  what a tenant configures, and the plan a process keeps
process      an OTP process, from its start to its one end
budget       how many wrong codes in a row a contact may have
process_id   the public identifier of an OTP process
draws        random values, many drawn at a time
process_outcome  what the use cases of processes answer
idempotency  how an Idempotency-Key is written
client       API clients, their tenants and scopes
account      accounts of the svc face, their organisations and sessions
password_rules  what a password may be
account_outcome  what the use cases of accounts answer
reset_words  the words of the svc face's mails, and their language
audit        the chained trail: who did what
address      a client's address as a limiter key
"""
