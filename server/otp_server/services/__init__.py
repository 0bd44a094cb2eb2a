"""Use cases and their ports. Batch-first: a single request is a batch of one.

ports      what a store must do: one page of sentences
issue      draw and store device codes
live_codes how many are alive, by length: never too few
confirm    check device codes, exactly once, under guess limits
devices    register, authenticate and revoke devices; organisations
tokens     the JWTs a confirmation hands out
signing    the installation's JWTs: signed and read
contacts   contacts sealed and indexed, as stores keep them
contact_keys    the keys of contacts are those that the store's were made under
settings   challenge types, routes and templates; the plans made of them
clients    API clients: registering, authenticating, their access tokens
starts     handshake and init: judging, charging, starting
attempts   typed codes: counted, compared, settled
process_code    the code of a process, derived and stored nowhere
compose    the words of a message, its code and contact in it
deliver    messages leave the outbox: once, in time, elsewhere when a provider is down
first_messages      messages leased to their worker from the start, where it has room
delivery_reports    what became of messages, told to the store in few calls
unprovided messages of a channel that has no provider
search     processes as an operator may see them
start_reading   a handshake or an init judged up to where the limits begin
start_limits    the limits of processes: exact windows, all asked, all charged or none
limit_charges   a row of limits, charged all or none, and its refusal
call_limits     how often a client may call, and an address fail to log in
store_wait      how long a charged use case waits for the store
guards     signs of SMS fraud
limit_hits refusals by limits, on their way into the audit trail
idempotency     what an Idempotency-Key stands for
contact_entry   the contacts of a request in normal form
process_fields  what is wrong with the fields of a request
process_upkeep  the periodic work for processes
lockouts   forgiving a contact its wrong codes
audit      the audit trail: walking its chain, reading it
accounts   accounts of the svc face: made, found, shown to their owners
sessions   sessions of web clients: begun, found, signed in, ended
session_limits  how often a session may be begun, and a password tried
address_calls   how often an address may call the svc face
passwords  passwords hashed and compared, a few at a time
password_policy  new passwords judged
breached   passwords that attackers try first
bounded_threads  blocking work in a few threads, with a bounded queue
sockets    open web sockets, whose session each is bound to, one-time tokens
account_upkeep  the periodic work for accounts
resets     codes of the svc face: sent, checked, used to set a password
reset_calls     what is asked of them
reset_parts     what they work with, and go by
reset_reading   who calls, and about which account
reset_sends     a code on its way, and its secret
reset_attempts  a secret and a code against what was sent
reset_checks    whether a code is right
reset_changes   a right code changes the password
reset_processes their OTP processes, and the notice's
reset_limits    their limits
quiet_wake waking who delivers, but not while the caller is answered
delivery_watch  who waits for a message is told what became of it
start_journal   the journal of starts, read back page by page
presence   which devices are connected now, and who must be told of a revocation
upkeep     the periodic work: expiry, live counts, retention
"""
