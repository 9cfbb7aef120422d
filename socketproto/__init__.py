"""The mconsole protocol of User Mode Linux, usable by itself.

Layers, each importing only those above it:

* `wire`: request, reply and notification to and from bytes; pure.
* `exchange`: replies into an outcome, an answer into replies; pure, both roles.
* `blocking`: one request over a plain socket; standard library only.
* `fair_queue`: which request is next, of many clients; pure. `spin`: short waits without sleeping.
* `client`, `listener`: the trio ends.

Nothing is imported here: a one-shot command pays for what it uses and no more.
"""
