/*
 * proxy/suspend.h - SUSPEND: what is under way is flushed, then nothing is read any more.
 *
 * px->suspended is set by the console; every worker follows it at its next pass (w->suspended),
 * stops listening, and lets connections fall silent at the end of the message they are in. Those
 * that have not within suspend_timeout are closed.
 */
#pragma once
#include "proxy/client.h"

/* Begins; false when it was on already. Any thread, like the next two. */
bool herd_suspend_begin(struct herd_px *px);
/* Ends it; false when it was not on. */
bool herd_suspend_end(struct herd_px *px);
/* Has everything fallen silent? */
bool herd_suspend_done(const struct herd_px *px);

/* Once per pass of the loop: follows what was said, and closes or opens the doors. */
void herd_suspend_pass(struct herd_worker *w);
/* While suspended: must this connection not be read? */
bool herd_suspend_holds_client(const struct herd_client *c);
bool herd_suspend_holds_server(const struct herd_server *s);
/* Looks who is not silent yet. */
void herd_suspend_janitor(struct herd_worker *w);
