/*
 * proxy/hub.h - LISTEN for clients that change servers: one connection per database listens for
 * all of them.
 *
 * The connection is opened for the first LISTEN, with the login of that client's pool, beside the
 * pool (pool_size does not count it, max_db_connections does), in a cluster always at the primary.
 * A channel is listened to before the client's own LISTEN is sent on, so nothing is missed
 * afterwards: what comes between the server's commit and our word of it waits for that word. What
 * is notified while the connection is being made again is lost, as it is for a session that was
 * cut.
 *
 * A hub's lock guards its channels and members and is taken for LISTEN, UNLISTEN and notifications
 * only. Notifications travel from the hub's thread to the clients' threads by notes.
 */
#pragma once
#include "proxy/client.h"

struct herd_hub;
struct herd_hub_member;

enum herd_hub_answer {
	HERD_HUB_READY = 0, /* is listened to; the client counts as one that wants it */
	HERD_HUB_WAIT,      /* will be; the client is woken */
	HERD_HUB_NO         /* cannot be done; log says why */
};
enum { HERD_HUB_MAX_QUEUED = 4 * 1024 * 1024 };

/* The client is about to LISTEN to it. */
enum herd_hub_answer herd_hub_want(struct herd_client *c, const char *channel);
/*
 * What ends its transaction was sent: from here on nothing that is notified on the channels that it
 * asked for is lost, though its LISTEN is not known to be committed yet. What its own server
 * notifies is kept before, too.
 */
void herd_hub_commits(struct herd_client *c);
/* Its transaction is over: it listens to what c->kept->s says, and to nothing else. */
void herd_hub_sync(struct herd_client *c);
/* It is about to NOTIFY: what comes from its server now is its own. */
void herd_hub_notifies(struct herd_client *c);
/* Its server gets another client. */
void herd_hub_passed_on(struct herd_server *s);
/* Between two messages, outside of a transaction: sends what was kept. The client may be gone. */
void herd_hub_flush(struct herd_client *c);
void herd_hub_leave(struct herd_client *c);

/* The hub's own connection. */
void herd_hub_opens(struct herd_hub *h, struct herd_server *s);
void herd_hub_linked(struct herd_worker *w, struct herd_server *s);
/* False: the server is gone. */
bool herd_hub_message(struct herd_worker *w, struct herd_server *s, char type, const void *body,
		      size_t n);
void herd_hub_lost(struct herd_worker *w, struct herd_server *s, const char *why);
/* Where it connects to. */
const struct herd_route *herd_hub_route(struct herd_hub *h, const struct herd_database *conf);
void herd_hubs_janitor(struct herd_worker *w);
void herd_hubs_free(struct herd_px *px);
