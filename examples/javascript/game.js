// A room that counts: every player adds to one number, and everybody is told.
import { write } from "hotseat:plugin/log@0.1.0";
import { broadcast } from "hotseat:plugin/players@0.1.0";

const ADD = 2001;
const TOTAL = 2002;
const FAIL = 2003;

let total = 0n;

const encode = (text) => new TextEncoder().encode(text);
const decode = (bytes) => new TextDecoder().decode(bytes);

// An exception ends the call as a trap does, and the host sees no more of it than that. So its text is logged first: the
// lines of a call that traps are kept. What is thrown as a refusal is the game's answer and passes.
const logged = (handler) => (...args) => {
  try {
    return handler(...args);
  } catch (error) {
    if (error.payload === undefined) write(0, `${error}\n${error.stack}`);
    throw error;
  }
};

const refuse = (code, text) => {
  throw Object.assign(new Error(text), { payload: { code, text } });
};

export const lifecycle = {
  open: logged((key, args) => {}),
  save: logged(() => ({ schema: 1, bytes: encode(total.toString()) })),
  load: logged((state) => {
    total = BigInt(decode(state.bytes));
  }),
};

export const room = {
  join: logged((user) => {}),
  rejoin: logged((user) => {}),
  leave: logged((user, reason) => {}),
  message: logged((user, op, payload) => {
    switch (op) {
      case ADD:
        if (payload.length !== 1) refuse(1000, "one byte: the number to add");
        total += BigInt(payload[0]);
        broadcast(new BigUint64Array(), TOTAL, encode(total.toString()));
        break;
      case FAIL:
        return total.nonsense.more;
      default:
        refuse(1001, `no opcode ${op}`);
    }
  }),
  tick: logged((dt) => {}),
  timer: logged((id) => {}),
  reply: logged((token, answer) => {}),
};
