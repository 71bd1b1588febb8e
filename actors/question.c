#include "actors/question.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct question *question_new(struct resolver *resolver, const struct message *request,
                              const struct multiaddr *address)
{
    struct question *question = calloc(1, sizeof(*question));
    int error;

    if (!question)
        return NULL;
    question->resolver = resolver;
    question->request = *request;
    question->request.buffer = NULL;
    error = dnsaddr_walk_init(&question->walk, address);
    question->walking = error == 0;
    if (error == P2P_ERR_CALL_NOT_FOUND)
        question->names[question->name_count++] = *address;
    if (question->walking || question->name_count > 0)
        return question;
    free(question);
    return NULL;
}

void question_free(struct question *question)
{
    if (question->walking)
        dnsaddr_walk_fini(&question->walk);
    free(question);
}

/* ---- addresses of an answer ---- */

static void keep_address(struct question *question, struct multiaddr *address)
{
    struct resolver_answer *answer = &question->answer;

    multiaddr_without_peer_id(address);
    if (!multiaddr_is_dialable_tcp(address)) {
        answer->others++;
        return;
    }
    for (uint32_t i = 0; i < answer->count; i++)
        if (multiaddr_equal(&answer->addresses[i], address))
            return;
    if (answer->count < RESOLVER_ADDRESSES_MAX)
        answer->addresses[answer->count++] = *address;
}

void question_take_address(struct question *question, const struct sockaddr *resolved)
{
    struct multiaddr address = question->names[question->name_at];

    if (multiaddr_resolve_host(&address, resolved) == 0)
        keep_address(question, &address);
}

/* An address from a TXT record: to dial as it is, or once more a name. */
static void keep_result(struct question *question, struct multiaddr *address)
{
    if (!multiaddr_is_resolvable(address))
        keep_address(question, address);
    else if (question->name_count < RESOLVER_NAMES_MAX)
        question->names[question->name_count++] = *address;
}

void question_say_why(struct question *question, const char *name, const char *why)
{
    snprintf(question->answer.why, sizeof(question->answer.why), "%.80s: %.40s", name, why);
}

bool question_next_txt(struct question *question)
{
    struct multiaddr address;

    if (!question->walking)
        return false;
    if (question->links < RESOLVER_LINKS_MAX && dnsaddr_walk_next(&question->walk, question->txt_name)) {
        question->links++;
        return true;
    }
    while (dnsaddr_walk_result(&question->walk, &address))
        keep_result(question, &address);
    dnsaddr_walk_fini(&question->walk);
    question->walking = false;
    question->txt_name[0] = '\0';
    return false;
}

void question_take_txt(struct question *question, const char *text, size_t length)
{
    (void)dnsaddr_walk_txt(&question->walk, text, length); /* without memory it is left out, as one too many is */
}

const struct resolver_answer *question_answer(struct question *question)
{
    if (question->answer.count > 0)
        question->answer.error = 0;
    else if (question->answer.error == 0)
        question->answer.error = P2P_ERR_CONN_UNREACHABLE;
    return &question->answer;
}

/* ---- a made-up zone ---- */

static void keep_zone_address(struct question *question, const struct resolver_record *record)
{
    struct sockaddr_storage address = {0};
    bool v6 = record->type == RESOLVER_RECORD_AAAA;
    void *to = v6 ? (void *)&((struct sockaddr_in6 *)&address)->sin6_addr :
                    (void *)&((struct sockaddr_in *)&address)->sin_addr;

    address.ss_family = v6 ? AF_INET6 : AF_INET;
    if (inet_pton(address.ss_family, record->value, to) == 1)
        question_take_address(question, (struct sockaddr *)&address);
}

void question_ask_zone(struct question *question, const struct resolver_zone *zone, const char *name, int family)
{
    bool found = false;

    for (size_t i = 0; i < zone->count; i++) {
        const struct resolver_record *record = &zone->records[i];
        if (strcasecmp(record->name, name) != 0)
            continue;
        found = true;
        if (question->txt_name[0]) {
            if (record->type == RESOLVER_RECORD_TXT)
                question_take_txt(question, record->value, strlen(record->value));
        } else if ((record->type == RESOLVER_RECORD_A && family != AF_INET6) ||
                   (record->type == RESOLVER_RECORD_AAAA && family != AF_INET)) {
            keep_zone_address(question, record);
        }
    }
    if (!found)
        question_say_why(question, name, "no such name in the zone");
    question->name_at += question->txt_name[0] == '\0';
}
