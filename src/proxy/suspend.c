#include "proxy/suspend.h"

#include "proxy/doors.h"
#include "proxy/server.h"

static void wake_all(struct herd_px *px)
{
	for (int i = 0; i < px->nworkers; i++)
		herd_worker_poke(&px->workers[i]);
}

bool herd_suspend_begin(struct herd_px *px)
{
	if (atomic_load(&px->suspended))
		return false;
	for (int i = 0; i < px->nworkers; i++)
		atomic_store(&px->workers[i].unsilent, -1);
	atomic_store(&px->suspend_us, herd_clock_us());
	atomic_store(&px->suspended, true);
	wake_all(px);
	return true;
}

bool herd_suspend_end(struct herd_px *px)
{
	if (!atomic_exchange(&px->suspended, false))
		return false;
	wake_all(px);
	return true;
}

bool herd_suspend_done(const struct herd_px *px)
{
	for (int i = 0; i < px->nworkers; i++) {
		if (atomic_load(&px->workers[i].unsilent) != 0)
			return false;
	}
	return true;
}

static bool silent(const struct herd_conn *c, uint32_t pass_left)
{
	return c->in.len == 0 && !herd_conn_blocked(c) && pass_left == 0;
}

bool herd_suspend_holds_client(const struct herd_client *c)
{
	return !c->internal && (c->state == HERD_CLIENT_IDLE || c->state == HERD_CLIENT_ACTIVE) &&
	       silent(&c->conn, c->pass_left) &&
	       (!c->server || herd_suspend_holds_server(c->server));
}

bool herd_suspend_holds_server(const struct herd_server *s)
{
	return s->client && !s->client->internal && silent(&s->conn, s->pass_left) &&
	       silent(&s->client->conn, s->client->pass_left);
}

void herd_suspend_pass(struct herd_worker *w)
{
	bool on = atomic_load(&w->px->suspended);

	if (on == w->suspended)
		return;
	w->suspended = on;
	if (atomic_load(&w->px->stop) == HERD_STOP_NO)
		herd_doors_watch(w, !on);
	if (on) {
		w->next_janitor_us = w->now_us;
		return;
	}
	/* What came meanwhile has been noted on the connections; nobody will tell again. */
	herd_list_for_each(it, &w->clients)
		herd_client_wake(herd_container_of(it, struct herd_client, node));
}

void herd_suspend_janitor(struct herd_worker *w)
{
	int64_t timeout = herd_worker_settings(w)->suspend_timeout;
	bool late = timeout > 0 && w->now_us - atomic_load(&w->px->suspend_us) > timeout;
	int left = 0;

	if (!w->suspended)
		return;
	herd_list_for_each_safe(it, &w->clients)
	{
		struct herd_client *c = herd_container_of(it, struct herd_client, node);

		if (c->internal ||
		    (c->state != HERD_CLIENT_IDLE && c->state != HERD_CLIENT_ACTIVE &&
		     c->state != HERD_CLIENT_WAITING) ||
		    herd_suspend_holds_client(c))
			continue;
		if (late)
			herd_client_fail(c, "08P01", "suspend_timeout");
		else
			left++;
	}
	atomic_store(&w->unsilent, left);
}
