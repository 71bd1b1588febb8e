#include "net/identify.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "chorus/p2p.h"

enum {
    FIELD_PUBLIC_KEY = 1,
    FIELD_LISTEN_ADDRS = 2,
    FIELD_PROTOCOLS = 3,
    FIELD_OBSERVED_ADDR = 4,
    FIELD_PROTOCOL_VERSION = 5,
    FIELD_AGENT_VERSION = 6,
    FIELD_SIGNED_RECORD = 8,

    LENGTH_BYTES = 2, /* in front of each message sent */
    BODY_BYTES_MAX = IDENTIFY_SENT_MESSAGE_BYTES_MAX - LENGTH_BYTES,
    READER_FIRST_BYTES = 1024,
    DEFERRED_ADDRS_MAX = 32, /* the comparison is quadratic */
};

static_assert(IDENTIFY_SENT_MESSAGE_BYTES_MAX < 1 << 14, "the length fits two bytes");
static_assert(KEY_PUBLIC_BYTES_MAX + MULTIADDR_BYTES_MAX + 2 * IDENTIFY_VERSION_SIZE + 16 < BODY_BYTES_MAX,
              "what is never left out fits a message");
static_assert(IDENTIFY_RECORD_BYTES_MAX + 1 + 2 <= BODY_BYTES_MAX, "a record fits a message of its own");
static_assert(sizeof(struct wire_span) <= 16, "as IDENTIFY_READER_MEMORY_MAX says");

/* ---- telling ---- */

/* What of the info goes into the first message. */
struct plan {
    size_t protocols;
    size_t addrs;
    size_t protocol_version, agent_version; /* bytes */
    size_t body;                            /* of the message, without the record */
    bool record;                            /* any */
    bool apart;                             /* the record, in a second message */
};

static size_t version_length(const char *version)
{
    return version ? strnlen(version, IDENTIFY_VERSION_SIZE - 1) : 0;
}

static size_t field_size(uint32_t number, size_t length)
{
    return length ? wire_field_bytes_size(number, length) : 0;
}

/* A name that nobody could propose would only cost room. */
static size_t protocol_size(const char *protocol)
{
    size_t length = strnlen(protocol, IDENTIFY_PROTOCOL_BYTES_MAX + 1);
    return length <= IDENTIFY_PROTOCOL_BYTES_MAX ? field_size(FIELD_PROTOCOLS, length) : 0;
}

static struct plan plan_of(const struct identify_info *info)
{
    struct plan plan = {0};
    plan.protocol_version = version_length(info->protocol_version);
    plan.agent_version = version_length(info->agent_version);
    plan.body = field_size(FIELD_PUBLIC_KEY, info->public_key.length) +
                field_size(FIELD_OBSERVED_ADDR, info->observed ? info->observed->length : 0) +
                field_size(FIELD_PROTOCOL_VERSION, plan.protocol_version) +
                field_size(FIELD_AGENT_VERSION, plan.agent_version);
    assert(plan.body <= BODY_BYTES_MAX);
    for (; plan.protocols < info->protocol_count; plan.protocols++) {
        size_t size = protocol_size(info->protocols[plan.protocols]);
        if (plan.body + size > BODY_BYTES_MAX)
            break;
        plan.body += size;
    }
    for (; plan.addrs < info->addr_count; plan.addrs++) {
        size_t size = field_size(FIELD_LISTEN_ADDRS, info->addrs[plan.addrs].length);
        if (plan.body + size > BODY_BYTES_MAX)
            break;
        plan.body += size;
    }
    size_t record = info->signed_record.length;
    plan.record = record > 0 && record <= IDENTIFY_RECORD_BYTES_MAX;
    plan.apart = plan.body + field_size(FIELD_SIGNED_RECORD, record) > IDENTIFY_SPLIT_BYTES;
    return plan;
}

static void write_field(struct wire_writer *writer, uint32_t number, const void *data, size_t length)
{
    if (length > 0)
        wire_field_bytes(writer, number, (const uint8_t *)data, length);
}

static void write_info(struct wire_writer *writer, const struct identify_info *info, const struct plan *plan)
{
    write_field(writer, FIELD_PUBLIC_KEY, info->public_key.data, info->public_key.length);
    for (size_t i = 0; i < plan->addrs; i++)
        write_field(writer, FIELD_LISTEN_ADDRS, info->addrs[i].bytes, info->addrs[i].length);
    for (size_t i = 0; i < plan->protocols; i++) {
        if (protocol_size(info->protocols[i]) > 0)
            wire_field_string(writer, FIELD_PROTOCOLS, info->protocols[i]);
    }
    if (info->observed)
        write_field(writer, FIELD_OBSERVED_ADDR, info->observed->bytes, info->observed->length);
    write_field(writer, FIELD_PROTOCOL_VERSION, info->protocol_version, plan->protocol_version);
    write_field(writer, FIELD_AGENT_VERSION, info->agent_version, plan->agent_version);
}

int identify_encode(uint8_t *out, size_t capacity, size_t *written, const struct identify_info *info)
{
    assert(info->public_key.length <= KEY_PUBLIC_BYTES_MAX);
    struct plan plan = plan_of(info);
    struct wire_writer writer = wire_writer_of(out, capacity);
    size_t mark = wire_delimited_begin(&writer);
    write_info(&writer, info, &plan);
    if (plan.record && plan.apart) {
        wire_delimited_end(&writer, mark);
        mark = wire_delimited_begin(&writer);
    }
    if (plan.record)
        write_field(&writer, FIELD_SIGNED_RECORD, info->signed_record.data, info->signed_record.length);
    wire_delimited_end(&writer, mark);
    if (writer.failed)
        return P2P_ERR_CALL_SHORT;
    *written = writer.length;
    return 0;
}

/* ---- asking ---- */

void identify_reader_init(struct identify_reader *reader)
{
    memset(reader, 0, sizeof(*reader));
}

void identify_reader_fini(struct identify_reader *reader)
{
    free(reader->bytes);
    free(reader->tables);
    memset(reader, 0, sizeof(*reader));
}

static int append(struct identify_reader *reader, const uint8_t *data, size_t length)
{
    if (length > IDENTIFY_READER_BYTES_MAX - reader->length)
        return P2P_ERR_STREAM_LIMIT;
    uint32_t needed = reader->length + (uint32_t)length;
    if (needed > reader->capacity) {
        uint32_t capacity = reader->capacity ? reader->capacity : READER_FIRST_BYTES;
        while (capacity < needed)
            capacity *= 2;
        if (capacity > IDENTIFY_READER_BYTES_MAX)
            capacity = IDENTIFY_READER_BYTES_MAX;
        uint8_t *bytes = realloc(reader->bytes, capacity);
        if (!bytes)
            return P2P_ERR_CALL_NOMEM;
        reader->bytes = bytes;
        reader->capacity = capacity;
    }
    memcpy(reader->bytes + reader->length, data, length);
    reader->length = needed;
    return 0;
}

/* Passes over the whole messages; fails on one that is too long or too many. */
static int find_messages(struct identify_reader *reader)
{
    while (reader->message < reader->length) {
        struct wire_span body;
        size_t total;
        if (reader->message_count == IDENTIFY_MESSAGES_MAX)
            return P2P_ERR_STREAM_LIMIT;
        int error = wire_delimited_peek(&body, &total, reader->bytes + reader->message,
                                        reader->length - reader->message, IDENTIFY_MESSAGE_BYTES_MAX);
        if (error == P2P_ERR_CALL_AGAIN)
            return 0;
        if (error != 0)
            return error == P2P_ERR_STREAM_LIMIT ? error : P2P_ERR_STREAM_PROTOCOL;
        reader->message += (uint32_t)total;
        reader->message_count++;
    }
    return 0;
}

int identify_recv(struct identify_reader *reader, const uint8_t *data, size_t length)
{
    if (reader->error != 0 || length == 0)
        return reader->error;
    int error = append(reader, data, length);
    if (error == 0)
        error = find_messages(reader);
    reader->error = (int16_t)error;
    return error;
}

/* All fields of all messages, as of one message: that is how protobuf merges. */
struct fields {
    struct wire_reader messages;
    struct wire_reader message;
};

static struct fields fields_of(const struct identify_reader *reader)
{
    struct fields fields = {wire_reader_of(reader->bytes, reader->message), wire_reader_of(NULL, 0)};
    return fields;
}

static bool next_field(struct fields *fields, struct wire_field *field)
{
    while (!wire_field_next(&fields->message, field)) {
        if (fields->message.failed || wire_done(&fields->messages))
            return false;
        struct wire_span body = wire_read_prefixed(&fields->messages);
        fields->message = wire_reader_of(body.data, body.length);
    }
    return true;
}

/* What one pass over the fields finds: of single fields the last one counts. */
struct found {
    struct wire_span public_key, observed, protocol_version, agent_version, signed_record;
    size_t protocol_count, addr_count;
};

static int find(struct found *found, const struct identify_reader *reader)
{
    struct fields fields = fields_of(reader);
    struct wire_field field;
    size_t count = 0;
    memset(found, 0, sizeof(*found));
    while (next_field(&fields, &field)) {
        if (++count > IDENTIFY_FIELDS_MAX)
            return P2P_ERR_STREAM_LIMIT;
        if (field.type != WIRE_TYPE_BYTES)
            continue;
        switch (field.number) {
        case FIELD_PUBLIC_KEY:
            found->public_key = field.bytes;
            break;
        case FIELD_LISTEN_ADDRS:
            found->addr_count++;
            break;
        case FIELD_PROTOCOLS:
            found->protocol_count++;
            break;
        case FIELD_OBSERVED_ADDR:
            found->observed = field.bytes;
            break;
        case FIELD_PROTOCOL_VERSION:
            found->protocol_version = field.bytes;
            break;
        case FIELD_AGENT_VERSION:
            found->agent_version = field.bytes;
            break;
        case FIELD_SIGNED_RECORD:
            found->signed_record = field.bytes;
            break;
        default:
            break;
        }
    }
    return fields.message.failed ? P2P_ERR_STREAM_PROTOCOL : 0;
}

/* Bytes of the UTF-8 character at `text`; 0 when it is none, or a control
 * character (C0, DEL, C1). */
static size_t printable(const uint8_t *text, size_t length)
{
    static const uint32_t smallest[] = {0, 0x20, 0xa0, 0x800, 0x10000};
    size_t bytes = text[0] < 0x80 ? 1 : text[0] >= 0xf0 ? 4 : text[0] >= 0xe0 ? 3 : text[0] >= 0xc0 ? 2 : 0;
    if (bytes == 0 || bytes > length || text[0] >= 0xf8)
        return 0;
    uint32_t code = bytes == 1 ? text[0] : text[0] & (0xffu >> (bytes + 1));
    for (size_t i = 1; i < bytes; i++) {
        if ((text[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (text[i] & 0x3f);
    }
    if (code < smallest[bytes] || code == 0x7f || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return 0;
    return bytes;
}

static void copy_version(char out[IDENTIFY_VERSION_SIZE], struct wire_span text)
{
    size_t length = 0, i = 0;
    while (i < text.length) {
        size_t bytes = printable(text.data + i, text.length - i);
        size_t taken = bytes ? bytes : 1;
        if (length + taken >= IDENTIFY_VERSION_SIZE)
            break;
        if (bytes)
            memcpy(out + length, text.data + i, bytes);
        else
            out[length] = '?';
        length += taken;
        i += taken;
    }
    out[length] = '\0';
}

bool identify_is_text(struct wire_span text)
{
    for (size_t i = 0; i < text.length;) {
        size_t bytes = printable(text.data + i, text.length - i);
        if (bytes == 0)
            return false;
        i += bytes;
    }
    return true;
}

static bool is_protocol(struct wire_span name)
{
    return name.length > 0 && name.length <= IDENTIFY_PROTOCOL_BYTES_MAX && identify_is_text(name);
}

/* Cuts the peer's own /p2p off; false for what does not parse or leads to another peer. */
static bool trim_addr(struct wire_span *bytes, const struct peer_id *peer)
{
    struct multiaddr addr;
    if (multiaddr_from_bytes(&addr, bytes->data, bytes->length) != 0)
        return false;
    multiaddr_without_peer_id(&addr);
    if (addr.length < bytes->length) {
        struct multiaddr whole = addr;
        if (multiaddr_with_peer_id(&whole, peer) != 0 || whole.length != bytes->length ||
            memcmp(whole.bytes, bytes->data, whole.length) != 0)
            return false;
    }
    bytes->length = addr.length;
    return addr.length > 0;
}

/* An unreadable key is as good as none; a readable one of another peer is a lie. */
static void check_key(struct identify_result *result, struct wire_span bytes, const struct peer_id *peer)
{
    struct public_key key;
    if (bytes.length == 0 || public_key_from_protobuf(&key, bytes.data, bytes.length) != 0)
        return;
    result->has_public_key = peer_id_matches_key(peer, &key);
    result->key_mismatch = !result->has_public_key;
    if (result->has_public_key)
        result->public_key = bytes;
}

/* The tables, filled as far as their bounds go. */
static void fill(struct identify_result *result, struct wire_span *protocols, struct wire_span *addrs,
                 const struct identify_reader *reader, const struct peer_id *peer)
{
    struct fields fields = fields_of(reader);
    struct wire_field field;
    while (next_field(&fields, &field)) {
        if (field.type != WIRE_TYPE_BYTES)
            continue;
        if (field.number == FIELD_PROTOCOLS && result->protocol_count < IDENTIFY_PROTOCOLS_MAX &&
            is_protocol(field.bytes))
            protocols[result->protocol_count++] = field.bytes;
        if (field.number == FIELD_LISTEN_ADDRS && result->addr_count < IDENTIFY_ADDRS_MAX &&
            trim_addr(&field.bytes, peer))
            addrs[result->addr_count++] = field.bytes;
    }
    result->protocols = protocols;
    result->addrs = addrs;
}

static size_t count_record_addrs(const struct peer_record *record)
{
    struct wire_span bytes;
    size_t offset = 0, count = 0;
    while (count < IDENTIFY_ADDRS_MAX && peer_record_next_bytes(record, &offset, &bytes))
        count++;
    return count;
}

static void replace_addrs(struct identify_result *result, struct wire_span *addrs,
                          const struct peer_record *record, const struct peer_id *peer)
{
    struct wire_span bytes;
    size_t offset = 0;
    result->addr_count = 0;
    while (result->addr_count < IDENTIFY_ADDRS_MAX && peer_record_next_bytes(record, &offset, &bytes)) {
        if (trim_addr(&bytes, peer))
            addrs[result->addr_count++] = bytes;
    }
}

static bool has_addr(const struct identify_result *result, struct wire_span addr)
{
    for (size_t i = 0; i < result->addr_count; i++) {
        if (result->addrs[i].length == addr.length &&
            memcmp(result->addrs[i].data, addr.data, addr.length) == 0)
            return true;
    }
    return false;
}

/* The record has as many addresses as the unsigned list, and each is in it. */
static bool tells_the_same(const struct identify_result *result, const struct peer_record *record,
                           const struct peer_id *peer)
{
    struct wire_span bytes;
    size_t offset = 0, count = 0;
    if (result->addr_count > DEFERRED_ADDRS_MAX)
        return false;
    for (; peer_record_next_bytes(record, &offset, &bytes); count++) {
        if (count == result->addr_count || !trim_addr(&bytes, peer) || !has_addr(result, bytes))
            return false;
    }
    return count == result->addr_count;
}

/* `record` was parsed and is of this peer; now to its signature. */
static void settle_record(struct identify_result *result, struct wire_span *addrs, struct wire_span sealed,
                          struct peer_record *record, const struct peer_id *peer, bool defer)
{
    result->record_deferred = defer && sealed.length <= IDENTIFY_DEFERRED_RECORD_BYTES_MAX &&
                              tells_the_same(result, record, peer);
    if (!result->record_deferred) {
        if (peer_record_open(record, sealed.data, sealed.length) != 0 || !peer_id_equal(&record->peer, peer))
            return;
        result->has_signed_record = true;
        replace_addrs(result, addrs, record, peer);
    }
    result->record_seq = record->seq;
    result->signed_record = sealed;
}

static size_t at_most(size_t count, size_t max)
{
    return count < max ? count : max;
}

static int check_and_fill(struct identify_reader *reader, struct identify_result *result,
                          const struct found *found, const struct peer_id *peer)
{
    struct peer_record record;
    struct wire_span sealed = found->signed_record;
    bool has_record = sealed.length > 0 && peer_record_peek(&record, sealed.data, sealed.length) == 0 &&
                      peer_id_equal(&record.peer, peer);
    size_t protocols = at_most(found->protocol_count, IDENTIFY_PROTOCOLS_MAX);
    size_t addrs = at_most(found->addr_count, IDENTIFY_ADDRS_MAX);
    size_t signed_addrs = has_record ? count_record_addrs(&record) : 0;
    size_t room = addrs > signed_addrs ? addrs : signed_addrs;
    free(reader->tables);
    reader->tables = calloc(protocols + room + 1, sizeof(*reader->tables));
    if (!reader->tables)
        return P2P_ERR_CALL_NOMEM;
    fill(result, reader->tables, reader->tables + protocols, reader, peer);
    if (has_record)
        settle_record(result, reader->tables + protocols, sealed, &record, peer, reader->defer_record);
    assert(result->protocol_count <= protocols);
    assert(result->addr_count <= room);
    return 0;
}

int identify_finish(struct identify_reader *reader, struct identify_result *result,
                    const struct peer_id *authenticated)
{
    struct found found;
    memset(result, 0, sizeof(*result));
    if (reader->error != 0)
        return reader->error;
    if (reader->message_count == 0 || reader->message != reader->length)
        return P2P_ERR_STREAM_PROTOCOL;
    int error = find(&found, reader);
    if (error != 0)
        return error;
    check_key(result, found.public_key, authenticated);
    if (result->key_mismatch)
        return 0;
    error = check_and_fill(reader, result, &found, authenticated);
    if (error != 0)
        return error;
    result->has_listen_addrs = found.addr_count > 0;
    if (multiaddr_from_bytes(&result->observed, found.observed.data, found.observed.length) != 0)
        result->observed.length = 0;
    multiaddr_without_peer_id(&result->observed); /* js-libp2p sends it with our id */
    copy_version(result->protocol_version, found.protocol_version);
    copy_version(result->agent_version, found.agent_version);
    return 0;
}

void identify_addr(const struct identify_result *result, size_t index, struct multiaddr *addr)
{
    assert(index < result->addr_count);
    int error = multiaddr_from_bytes(addr, result->addrs[index].data, result->addrs[index].length);
    assert(error == 0);
}

/* ---- which addresses go over which connection ---- */

bool identify_announce_filter(const struct multiaddr *addr, const struct multiaddr *remote)
{
    enum multiaddr_scope scope = multiaddr_scope(addr);
    if (scope == MULTIADDR_SCOPE_UNSPECIFIED || scope == MULTIADDR_SCOPE_LINK_LOCAL)
        return false;
    switch (multiaddr_scope(remote)) {
    case MULTIADDR_SCOPE_LOOPBACK:
        return true;
    case MULTIADDR_SCOPE_PUBLIC:
        return scope == MULTIADDR_SCOPE_PUBLIC;
    default:
        return scope != MULTIADDR_SCOPE_LOOPBACK;
    }
}

bool identify_accept_filter(const struct multiaddr *addr, const struct multiaddr *remote)
{
    /* What we would not tell such a remote, we do not believe of it either. */
    return identify_announce_filter(addr, remote);
}
