"""A room that counts: every player adds to one number, and everybody is told."""

from functools import wraps

from wit_world import exports
from componentize_py_types import Err
from wit_world.imports import log, players
from wit_world.imports.types import Refusal, Snapshot

ADD = 2001
TOTAL = 2002
FAIL = 2003

total = 0


def logged(handler):
    """An exception ends the call as a trap does, and the host sees no more of it than that. So its text is logged first:
    the lines of a call that traps are kept. What is raised as a refusal is the game's answer and passes."""

    @wraps(handler)
    def call(*args):
        try:
            return handler(*args)
        except Err:
            raise
        except BaseException as error:
            log.write(0, told(error))
            raise

    return call


def told(error):
    """What happened and where. `traceback` would open the source files, which are not there."""
    lines = [f"{type(error).__name__}: {error}"]
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        lines.append(f"  {code.co_filename}:{trace.tb_lineno} in {code.co_name}")
        trace = trace.tb_next
    return "\n".join(lines)


class Lifecycle(exports.Lifecycle):
    @logged
    def open(self, key, args):
        pass

    @logged
    def save(self):
        return Snapshot(schema=1, bytes=str(total).encode())

    @logged
    def load(self, state):
        global total
        total = int(state.bytes)


class Room(exports.Room):
    def join(self, user):
        pass

    def rejoin(self, user):
        pass

    def leave(self, user, reason):
        pass

    @logged
    def message(self, user, op, payload):
        global total
        if op == ADD:
            if len(payload) != 1:
                raise Err(Refusal(code=1000, text="one byte: the number to add"))
            total += payload[0]
            players.broadcast([], TOTAL, str(total).encode())
        elif op == FAIL:
            raise KeyError("nonsense")
        else:
            raise Err(Refusal(code=1001, text=f"no opcode {op}"))

    def tick(self, dt_ms):
        pass

    def timer(self, id):
        pass

    def reply(self, token, answer):
        pass
