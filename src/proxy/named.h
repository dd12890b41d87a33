/*
 * proxy/named.h - the names that a client has given to its statements.
 *
 * A name is taken when its Parse is sent and free when its Close is, ahead of the server's answer:
 * an error before them makes the server skip both, and then neither has happened. So each change is
 * kept until its turn has come, and undone, when it was skipped with all that followed it in its
 * batch. As long as the client's request may have to be sent again to another server, changes are
 * kept longer.
 *
 * Changes and requests (pool/flight.h) go side by side: those of the client's 'P' and 'C' that
 * carry a statement. All of it belongs to the client's thread. A NULL c->named has no names.
 */
#pragma once
#include "proxy/client.h"

struct herd_map;

/* The statement of a name, NULL: it is free. */
struct herd_stmt *herd_named_get(const struct herd_client *c, const char *name);
/*
 * The same for its use: what a Parse should have made that failed, or was skipped, is tried again.
 * (The name is free all the same. PostgreSQL says 26000; PgBouncer does this, for drivers that
 * count on the name once they have sent it.)
 */
struct herd_stmt *herd_named_find(const struct herd_client *c, const char *name);
/* All of them: name -> struct herd_stmt, NULL when there are none. */
const struct herd_map *herd_named_all(const struct herd_client *c);
/*
 * A change of it is under way in an earlier batch than the next request's: what becomes of another
 * change of it is known when the server has answered. (Within one batch the error that skips the
 * first one skips all that follows.)
 */
bool herd_named_undecided(const struct herd_client *c, const char *name);
/*
 * The same for the use of what it stands for (stmt, may be NULL). A Parse that was sent to the
 * server is trusted: if it is skipped the server says so. But that the server has the statement at
 * all must be sure.
 */
bool herd_named_unclear(const struct herd_client *c, const char *name,
			const struct herd_stmt *stmt);

/* A name of a client that came from another process; takes a reference. 0 or -ENOMEM. */
int herd_named_add(struct herd_client *c, const char *name, struct herd_stmt *stmt);
/* It is free from now on, for good. */
void herd_named_drop(struct herd_client *c, const char *name);
/*
 * A Parse of a free name goes among the requests (sent: to the server, which did not have the
 * statement before); takes a reference. 0 or -ENOMEM, with the reference gone.
 */
int herd_named_parse(struct herd_client *c, const char *name, struct herd_stmt *stmt, bool sent);
/*
 * A Close of it goes among the requests: returns the statement that the request is to carry, NULL
 * when the name was free.
 */
struct herd_stmt *herd_named_close(struct herd_client *c, const char *name);

/* The turn of the oldest change that is under way has come. */
void herd_named_done(struct herd_client *c);
/* The n oldest were skipped. */
void herd_named_skipped(struct herd_client *c, uint32_t n);
/* The newest was not sent. */
void herd_named_unsent(struct herd_client *c);
/* All that is under way is lost. */
void herd_named_lost(struct herd_client *c);
/* All that was done since the last _settled will be sent again. */
void herd_named_again(struct herd_client *c);
/* Nothing is under way any more. */
void herd_named_settled(struct herd_client *c);
/* All names are free. */
void herd_named_free(struct herd_client *c);
