// A room that counts: every player adds to one number, and everybody is told.
//
// Without the C library and without generated bindings: what wit/ says is written down here as the canonical ABI of
// components passes it. `wit-bindgen c` makes the same of wit/ for whoever wants more of it.

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMPORT(interface, name) \
    __attribute__((import_module("hotseat:plugin/" interface "@0.1.0"), import_name(name)))
#define EXPORT(interface, name) __attribute__((export_name("hotseat:plugin/" interface "@0.1.0#" name)))

// What the host offers, as far as this room uses it.
IMPORT("log", "write") void log_write(uint32_t level, const char *text, size_t length);
IMPORT("players", "broadcast")
void players_broadcast(const uint64_t *users, size_t count, uint32_t op, const uint8_t *payload, size_t length);

enum { ADD = 2001, TOTAL = 2002, FAIL = 2003 };

static uint64_t total;

// Arguments of a call lie here; they are read before the next call, which begins at the front again.
static _Alignas(8) uint8_t arguments[1 << 20];
static size_t used;

__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
    size_t at = (used + align - 1) & ~(align - 1);
    if (at > sizeof arguments || size > sizeof arguments - at) __builtin_trap();
    used = at + size;
    for (size_t i = 0; i < old_size && i < size; i++) arguments[at + i] = ((uint8_t *)old)[i];
    return &arguments[at];
}

// C has no exceptions: what goes wrong is told first and ends the call as a trap does. The line is kept.
#define FAIL_WITH(text)                              \
    do {                                             \
        log_write(0, text, sizeof text - 1);         \
        __builtin_trap();                            \
    } while (0)

// result<_, string>
struct opened { bool failed; const char *text; size_t length; };
// record snapshot
struct snapshot { uint32_t schema; const uint8_t *bytes; size_t length; };
// result<_, refusal>
struct handled { bool refused; int32_t code; const char *text; size_t length; };

#define REFUSE(number, reason) \
    (handled = (struct handled){true, number, reason, sizeof reason - 1}, used = 0, &handled)

static struct opened opened;
static struct snapshot snapshot;
static struct handled handled;

EXPORT("lifecycle", "open") struct opened *lifecycle_open(const char *key, size_t length, const uint8_t *args, size_t count) {
    used = 0;
    opened = (struct opened){false, NULL, 0};
    return &opened;
}

EXPORT("lifecycle", "save") struct snapshot *lifecycle_save(void) {
    snapshot = (struct snapshot){1, (const uint8_t *)&total, sizeof total};
    return &snapshot;
}

EXPORT("lifecycle", "load") struct opened *lifecycle_load(uint32_t schema, const uint8_t *bytes, size_t length) {
    static const char wrong[] = "the state is none of this game";
    used = 0;
    opened = (struct opened){false, NULL, 0};
    if (schema != 1 || length != sizeof total) opened = (struct opened){true, wrong, sizeof wrong - 1};
    else for (size_t i = 0; i < length; i++) ((uint8_t *)&total)[i] = bytes[i];
    return &opened;
}

static size_t decimal(uint64_t number, uint8_t *text) {
    uint8_t digits[20];
    size_t count = 0;
    do digits[count++] = '0' + number % 10; while (number /= 10);
    for (size_t i = 0; i < count; i++) text[i] = digits[count - 1 - i];
    return count;
}

EXPORT("room", "message") struct handled *room_message(uint64_t user, uint32_t op, const uint8_t *payload, size_t length) {
    uint8_t text[20];
    switch (op) {
        case ADD:
            if (length != 1) return REFUSE(1000, "one byte: the number to add");
            total += payload[0];
            players_broadcast(NULL, 0, TOTAL, text, decimal(total, text));
            break;
        case FAIL:
            FAIL_WITH("nonsense");
        default:
            return REFUSE(1001, "no such opcode");
    }
    used = 0;
    handled = (struct handled){false, 0, NULL, 0};
    return &handled;
}

EXPORT("room", "join") void room_join(uint64_t user) {}
EXPORT("room", "rejoin") void room_rejoin(uint64_t user) {}
EXPORT("room", "leave") void room_leave(uint64_t user, uint32_t reason) {}
EXPORT("room", "tick") void room_tick(uint32_t dt_ms) {}
EXPORT("room", "timer") void room_timer(uint64_t id) {}
EXPORT("room", "reply") void room_reply(uint64_t token, uint32_t status, const uint8_t *body, size_t length, const char *text, size_t count) {
    used = 0;
}
