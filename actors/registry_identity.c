#include "actors/registry_identity.h"

#include "crypto/table.h"

#include <stdlib.h>
#include <string.h>

static size_t pack_text(char *out, size_t length, const void *text, size_t text_length)
{
    memcpy(out + length, text, text_length);
    out[length + text_length] = '\0';
    return length + text_length + 1;
}

/* Versions and protocols, of these as many as fit. */
static size_t pack_texts(char *out, const struct identify_result *result)
{
    size_t length = pack_text(out, 0, result->agent_version, strlen(result->agent_version));

    length = pack_text(out, length, result->protocol_version, strlen(result->protocol_version));
    size_t end = length + REGISTRY_PROTOCOLS_BYTES_MAX;
    for (size_t i = 0; i < result->protocol_count; i++) {
        const struct wire_span *protocol = &result->protocols[i];
        if (protocol->length == 0 || memchr(protocol->data, 0, protocol->length))
            continue;
        if (length + protocol->length + 1 > end)
            break;
        length = pack_text(out, length, protocol->data, protocol->length);
    }
    return length;
}

/* The string behind that one, or NULL. */
static const char *next_text(const struct registry_told *told, const char *text)
{
    const char *next = text + strlen(text) + 1;

    return next < (const char *)told->texts->bytes + told->texts->length ? next : NULL;
}

static const char *agent_of(const struct registry_told *told)
{
    return (const char *)told->texts->bytes;
}

static const char *version_of(const struct registry_told *told)
{
    return next_text(told, agent_of(told));
}

static const char *first_protocol(const struct registry_told *told)
{
    return next_text(told, version_of(told));
}

static size_t pack_address(uint8_t *out, size_t length, const struct multiaddr *address)
{
    if (length + 2 + address->length > REGISTRY_ADDRESSES_BYTES_MAX)
        return length;
    out[length] = (uint8_t)(address->length >> 8);
    out[length + 1] = (uint8_t)address->length;
    memcpy(out + length + 2, address->bytes, address->length);
    return length + 2 + address->length;
}

/* Addresses that are packed already. */
struct packed {
    size_t count;
    uint32_t hashes[IDENTIFY_ADDRS_MAX];
    uint16_t offsets[IDENTIFY_ADDRS_MAX];
};

static bool is_packed(const struct packed *packed, const uint8_t *bytes, const struct multiaddr *address, uint32_t hash)
{
    for (size_t i = 0; i < packed->count; i++) {
        const uint8_t *at = bytes + packed->offsets[i];
        if (packed->hashes[i] == hash && (at[0] << 8 | at[1]) == address->length &&
            memcmp(at + 2, address->bytes, address->length) == 0)
            return true;
    }
    return false;
}

/* Without the peer's id two addresses may be one, which is told once. */
static size_t pack_addresses(uint8_t *out, const struct identify_result *result, const struct multiaddr *remote)
{
    struct packed packed = {0};
    struct multiaddr address;
    size_t length = pack_address(out, 0, &result->observed);

    for (size_t i = 0; i < result->addr_count && packed.count < IDENTIFY_ADDRS_MAX; i++) {
        identify_addr(result, i, &address);
        if (multiaddr_is_none(&address) || !identify_accept_filter(&address, remote))
            continue;
        uint32_t hash = (uint32_t)table_hash(address.bytes, address.length, 0); /* collisions cost a comparison */
        if (is_packed(&packed, out, &address, hash))
            continue;
        packed.hashes[packed.count] = hash;
        packed.offsets[packed.count] = (uint16_t)length;
        length = pack_address(out, length, &address);
        packed.count += length > packed.offsets[packed.count];
    }
    return length;
}

void registry_lists_pack(struct registry_lists *out, const struct identify_result *result,
                         const struct multiaddr *remote)
{
    out->texts_bytes = pack_texts(out->texts, result);
    out->addresses_bytes = pack_addresses(out->addresses, result, remote);
}

static bool unpack_address(struct multiaddr *out, const struct registry_told *told, size_t *offset)
{
    if (*offset + 2 > told->addresses_bytes)
        return false;
    const uint8_t *at = told->addresses + *offset;
    out->length = (uint16_t)(at[0] << 8 | at[1]);
    memcpy(out->bytes, at + 2, out->length);
    *offset += 2u + out->length;
    return true;
}

/* The type stands in the key's protobuf, or in the id. */
static uint8_t key_type_of(const struct identify_result *result, const struct peer_id *id)
{
    struct public_key inlined;
    struct wire_reader reader = wire_reader_of(result->public_key.data, result->public_key.length);
    struct wire_field field;

    if (peer_id_public_key(id, &inlined) == 0)
        return (uint8_t)inlined.type;
    while (result->has_public_key && wire_field_next(&reader, &field))
        if (field.number == 1 && field.type == WIRE_TYPE_VARINT)
            return (uint8_t)field.value;
    return P2P_KEY_RSA; /* the only keys in use that ids hash */
}

/* 0, also when there is none, or P2P_ERR_CALL_NOMEM. */
static int keep_record(struct registry_told *told, const struct identify_result *result)
{
    told->signed_record = result->has_signed_record;
    told->record_seq = result->has_signed_record || result->record_deferred ? result->record_seq : 0;
    if (!result->record_deferred)
        return 0;
    told->record_bytes = (uint16_t)result->signed_record.length;
    told->record = malloc(result->signed_record.length);
    if (!told->record)
        return P2P_ERR_CALL_NOMEM;
    memcpy(told->record, result->signed_record.data, result->signed_record.length);
    return 0;
}

size_t registry_told_sealed(const struct registry_told *told, uint8_t out[IDENTIFY_DEFERRED_RECORD_BYTES_MAX])
{
    if (!told->record)
        return 0;
    memcpy(out, told->record, told->record_bytes);
    return told->record_bytes;
}

bool registry_record_valid(const uint8_t *sealed, size_t length, const struct peer_id *id)
{
    struct peer_record record;

    return peer_record_open(&record, sealed, length) == 0 && peer_id_equal(&record.peer, id);
}

void registry_told_judge(struct registry_told *told, const uint8_t *sealed, size_t length, bool valid)
{
    if (!told->record || told->record_bytes != length || memcmp(told->record, sealed, length) != 0)
        return;
    told->signed_record = valid;
    if (!valid)
        told->record_seq = 0;
    free(told->record);
    told->record = NULL;
}

int registry_told_set(struct registry_told *told, struct interns *interns, struct depot *depot,
                      const struct identify_result *result, const struct registry_lists *lists,
                      const struct peer_id *id)
{
    struct registry_told fresh = {
        .texts = intern_ref(interns, lists->texts, lists->texts_bytes),
        .addresses = depot_take(depot, lists->addresses_bytes),
        .addresses_bytes = (uint32_t)lists->addresses_bytes,
        .key_type = key_type_of(result, id),
    };

    if (!fresh.texts || !fresh.addresses || keep_record(&fresh, result) != 0) {
        registry_told_clear(&fresh, interns, depot);
        return P2P_ERR_CALL_NOMEM;
    }
    memcpy(fresh.addresses, lists->addresses, lists->addresses_bytes);
    registry_told_clear(told, interns, depot);
    *told = fresh;
    return 0;
}

void registry_told_clear(struct registry_told *told, struct interns *interns, struct depot *depot)
{
    intern_unref(interns, told->texts);
    depot_give(depot, told->addresses, told->addresses_bytes);
    free(told->record);
    memset(told, 0, sizeof(*told));
}

static uint32_t share_of(const struct intern_blob *blob)
{
    return blob ? blob->length / blob->refs : 0;
}

uint32_t registry_told_bytes(const struct registry_told *told)
{
    return told->addresses_bytes + (told->record ? told->record_bytes : 0u) + share_of(told->texts);
}

bool registry_told_speaks(const struct registry_told *told, const char *protocol)
{
    const char *at = told->texts ? first_protocol(told) : NULL;

    while (at && strcmp(at, protocol) != 0)
        at = next_text(told, at);
    return at != NULL;
}

/* ---- the copy for the application: one block, its strings at the end ---- */

struct block {
    char *at, *end;
};

static char *put_text(struct block *block, const char *text)
{
    size_t length = strlen(text) + 1;
    char *start = block->at;

    if (length > (size_t)(block->end - block->at))
        return NULL;
    memcpy(start, text, length);
    block->at += length;
    return start;
}

static char *put_address(struct block *block, const struct multiaddr *address)
{
    char *start = block->at;
    size_t room = (size_t)(block->end - block->at);
    int length = address->length == 0 ? (*start = '\0', 0) : multiaddr_to_text(address, start, room);

    if (length < 0)
        return NULL;
    block->at += length + 1;
    return start;
}

static size_t count_protocols(const struct registry_told *told)
{
    size_t count = 0;

    for (const char *at = first_protocol(told); at; at = next_text(told, at))
        count++;
    return count;
}

static size_t count_addresses(const struct registry_told *told, size_t *text_bytes)
{
    struct multiaddr address;
    char text[MULTIADDR_TEXT_SIZE];
    size_t offset = 0, count = 0;

    *text_bytes = 0;
    while (unpack_address(&address, told, &offset)) {
        int length = address.length ? multiaddr_to_text(&address, text, sizeof(text)) : 0;
        *text_bytes += (size_t)(length < 0 ? 0 : length) + 1;
        count++;
    }
    return count;
}

static void copy_lists(const struct registry_told *told, struct p2p_identity *identity, struct block *block)
{
    struct multiaddr address;
    size_t offset = 0;

    for (const char *name = first_protocol(told); name; name = next_text(told, name))
        identity->protocols[identity->protocol_count++] = put_text(block, name);
    identity->observed_address = unpack_address(&address, told, &offset) ? put_address(block, &address) : NULL;
    while (unpack_address(&address, told, &offset))
        identity->addresses[identity->address_count++] = put_address(block, &address);
}

int registry_told_copy(struct registry_told *told, struct p2p_identity **out, const struct peer_id *id)
{
    size_t text_bytes;
    if (told->record)
        registry_told_judge(told, told->record, told->record_bytes,
                            registry_record_valid(told->record, told->record_bytes, id));
    size_t addresses = count_addresses(told, &text_bytes);
    size_t protocols = count_protocols(told);
    size_t lists_bytes = (protocols + addresses) * sizeof(char *);
    size_t bytes = sizeof(struct p2p_identity) + lists_bytes + text_bytes + told->texts->length;
    struct p2p_identity *identity = calloc(1, bytes);

    if (!identity)
        return P2P_ERR_CALL_NOMEM;
    struct block block = {(char *)(identity + 1) + lists_bytes, (char *)identity + bytes};
    identity->protocols = (char **)(identity + 1);
    identity->addresses = identity->protocols + protocols;
    peer_id_to_text(id, identity->id);
    identity->agent_version = put_text(&block, agent_of(told));
    identity->protocol_version = put_text(&block, version_of(told));
    copy_lists(told, identity, &block);
    identity->signed_record = told->signed_record;
    identity->signed_record_seq = told->record_seq;
    identity->key_type = (enum p2p_key_type)told->key_type;
    *out = identity;
    return 0;
}

void p2p_identity_free(struct p2p_identity *identity)
{
    free(identity);
}
