#include <assert.h>
#include <string.h>

#include "net/multiaddr.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask_everything(struct multiaddr *m)
{
    struct multiaddr_component component;
    struct sockaddr_storage address;
    struct peer_id id;
    enum multiaddr_code kind;
    char name[MULTIADDR_HOST_SIZE], zone[MULTIADDR_ZONE_SIZE];
    size_t offset = 0;
    socklen_t length;
    uint16_t port;

    while (multiaddr_next(m, &offset, &component))
        ;
    multiaddr_scope(m);
    multiaddr_is_relayed(m);
    multiaddr_is_resolvable(m);
    assert(multiaddr_is_tcp(m) || !multiaddr_is_dialable_tcp(m));
    assert(multiaddr_equal(m, m));
    multiaddr_zone(m, zone);
    multiaddr_port(m, &port);
    if (multiaddr_to_sockaddr(m, &address, &length, 1) == 0) {
        struct multiaddr back;
        assert(multiaddr_is_tcp(m));
        assert(multiaddr_from_sockaddr(&back, (struct sockaddr *)&address) == 0);
    }
    if (multiaddr_host(m, name, sizeof(name), &kind) == 0) {
        struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
        multiaddr_resolve_host(m, (struct sockaddr *)&in6);
    }
    if (multiaddr_peer_id(m, &id) == 0)
        assert(multiaddr_with_peer_id(m, &id) == 0);
    multiaddr_without_peer_id(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct multiaddr m, back;
    struct multiaddr_component component;
    char text[MULTIADDR_TEXT_SIZE];
    if (multiaddr_from_bytes(&m, data, size) != 0)
        return 0;
    assert(m.length == size && memcmp(m.bytes, data, size) == 0);
    assert(multiaddr_to_text(&m, text, sizeof(text)) > 0);
    /* The key inside an id is looked at in text only. */
    if (multiaddr_from_text(&back, text, NULL, 0) == 0)
        assert(multiaddr_equal(&m, &back));
    else
        assert(multiaddr_find(&m, MULTIADDR_P2P, &component));
    ask_everything(&m);
    return 0;
}
