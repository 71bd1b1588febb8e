#include "actors/stream.h"

#include <assert.h>
#include <string.h>

/* Mail from the application's threads to the worker of a stream: it goes to the
 * stream's session, and when that is gone, to an actor made for it. */

void stream_mail_run(const struct stream_mail *mail)
{
    if (mail->always || mail->session_only || stream_is_held(mail->stream))
        mail->function(mail->stream, mail->argument);
}

/* ---- The runner: does what the session cannot do any more ------------------ */

static int runner_init(struct actor_context *context, void *state, const void *argument)
{
    (void)context;
    memcpy(state, argument, sizeof(struct stream_mail));
    return 0;
}

static void runner_receive(struct actor_context *context, void *state, struct message *message)
{
    (void)context;
    (void)state;
    (void)message;
}

static void runner_pump(struct actor_context *context, void *state)
{
    const struct stream_mail *mail = state;

    if (mail->stream->worker == NULL) /* it was never opened */
        mail->stream->worker = context->worker;
    stream_mail_run(mail);
    actor_exit(context);
}

static void runner_fini(struct actor_context *context, void *state)
{
    const struct stream_mail *mail = state;

    (void)context;
    stream_unref(mail->stream);
}

static const struct actor_class runner_class = {
    .name = "stream_runner",
    .state_bytes = sizeof(struct stream_mail),
    .mail_max = 1,
    .init = runner_init,
    .receive = runner_receive,
    .pump = runner_pump,
    .fini = runner_fini,
};

/* An actor, not a call: this is in the middle of the worker's own business, and
 * the function may send more such mail. */
static void run_soon(const struct stream_mail *mail)
{
    struct worker *worker = worker_current();
    struct stream_mail carried = *mail;
    struct actor_ref runner;

    assert(worker != NULL); /* mail dies on the worker that it is for */
    stream_ref(carried.stream);
    if (actor_spawn(worker, &runner, &runner_class, carried.stream->node->scope, &carried) == 0)
        actor_wake(worker, runner);
    else
        stream_unref(carried.stream); /* no memory: it stays undone, as it would have without the mail */
}

/* ---- Sending --------------------------------------------------------------- */

static void mail_dropped(void *data)
{
    struct stream_mail mail;
    struct p2p_node *node;

    memcpy(&mail, data, sizeof(mail));
    node = mail.stream->node;
    if (!mail.taken && mail.function != NULL && !mail.session_only)
        run_soon(&mail);
    stream_unref(mail.stream);
    /* Release pairs with the acquire of whoever waits for the last one to free the node. */
    __atomic_sub_fetch(&node->stream_mail, 1, __ATOMIC_RELEASE);
}

int stream_mail_post(const struct stream_mail *mail, unsigned type)
{
    struct message message = {.type = (uint16_t)type, .to = mail->stream->session_ref};
    struct stream_mail *carried;
    int error;

    message.kind = type == SESSION_MSG_OPEN_STREAM ? MESSAGE_REQUEST : MESSAGE_CONTROL;
    message.buffer = buffer_new_parcel(sizeof(*mail), mail_dropped);
    if (message.buffer == NULL)
        return P2P_ERR_CALL_NOMEM;
    carried = (struct stream_mail *)(void *)message.buffer->data;
    *carried = *mail;
    stream_ref(mail->stream);
    __atomic_add_fetch(&mail->stream->node->stream_mail, 1, __ATOMIC_RELAXED);
    error = node_post(mail->stream->node, &message);
    if (error != 0) {
        carried->taken = true; /* by the caller, who hears of it */
        buffer_unref(message.buffer);
    }
    return error;
}

void stream_mail_take(struct stream_mail *out, struct message *message)
{
    struct stream_mail *carried = (struct stream_mail *)(void *)message->buffer->data;

    carried->taken = true;
    *out = *carried;
}
