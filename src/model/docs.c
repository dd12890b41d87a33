#include "model/docs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "model/lsn.h"
#include "model/time.h"

static json_t *parse_object(const char *what, const char *text, size_t len, struct herd_err *err)
{
	json_t *obj = herd_json_parse(text, len, err);

	if (!obj) {
		herd_err_prefix(err, "%s", what);
		return NULL;
	}
	if (!json_is_object(obj)) {
		json_decref(obj);
		herd_err_set(err, -EINVAL, "%s is not a JSON object", what);
		return NULL;
	}
	return obj;
}

static void put_str(json_t *obj, const char *key, const char *value)
{
	if (value)
		json_object_set_new(obj, key, json_string(value));
}

static char *dump_and_free(json_t *v)
{
	char *text = v ? herd_json_dump(v) : NULL;

	json_decref(v);
	return text;
}

static int no_memory(struct herd_err *err)
{
	return herd_err_set(err, -ENOMEM, "out of memory");
}

/* Splits "b, c" into names; the leader never counts as a standby of its own. */
static int split_names(const char *text, const char *leader, struct herd_names *ret)
{
	char *copy = strdup(text), *save = NULL;
	int r = copy ? 0 : -ENOMEM;

	for (char *s = copy ? strtok_r(copy, ",", &save) : NULL; s && r == 0;
	     s = strtok_r(NULL, ",", &save)) {
		char *name = herd_str_trim(s);

		if (*name != '\0' && !herd_str_ieq(name, leader))
			r = herd_names_add(ret, name);
	}
	free(copy);
	return r;
}

int herd_sync_parse(const char *text, size_t len, struct herd_sync *ret, struct herd_err *err)
{
	struct herd_sync s = { 0 };
	json_t *obj = parse_object("sync document", text, len, err);

	if (!obj)
		return -EINVAL;
	const char *leader = herd_json_str(obj, "leader", NULL);
	const char *standby = herd_json_str(obj, "sync_standby", NULL);
	int64_t quorum = herd_json_i64(obj, "quorum", 0);
	int r = 0;

	if (leader && *leader != '\0') {
		s.quorum = quorum < 0 || quorum > 10000 ? 0 : (int)quorum;
		if (!herd_str_set(&s.leader, leader) ||
		    (standby && split_names(standby, leader, &s.standby) < 0))
			r = no_memory(err);
	}
	json_decref(obj);
	if (r < 0)
		herd_sync_clear(&s);
	else
		*ret = s;
	return r;
}

char *herd_sync_print(const struct herd_sync *s)
{
	struct herd_names sorted = { 0 };
	json_t *obj = json_object();
	char *list = NULL;

	if (herd_names_copy(&s->standby, &sorted) < 0) {
		json_decref(obj);
		return NULL;
	}
	herd_names_sort(&sorted);
	list = herd_names_join(&sorted, ",");
	json_object_set_new(obj, "leader", s->leader ? json_string(s->leader) : json_null());
	json_object_set_new(obj, "quorum", json_integer(s->quorum));
	json_object_set_new(obj, "sync_standby",
			    sorted.n > 0 && list ? json_string(list) : json_null());
	herd_names_clear(&sorted);
	free(list);
	return dump_and_free(obj);
}

void herd_sync_clear(struct herd_sync *s)
{
	free(s->leader);
	herd_names_clear(&s->standby);
	*s = (struct herd_sync){ 0 };
}

int herd_failover_parse(const char *text, size_t len, struct herd_failover *ret,
			struct herd_err *err)
{
	struct herd_failover f = { 0 };
	json_t *obj = NULL;
	bool ok = true;

	if (len > 0 && text[0] != '{' && text[0] != '"' && strchr(text, ':')) {
		/* The ancient "leader:candidate". */
		const char *colon = strchr(text, ':');

		if (colon > text)
			ok = (f.leader = strndup(text, (size_t)(colon - text))) != NULL;
		if (ok && colon[1] != '\0')
			ok = herd_str_set(&f.candidate, colon + 1);
	} else if (len > 0 && strcmp(text, "null") != 0) {
		obj = parse_object("failover document", text, len, err);
		if (!obj)
			return -EINVAL;
		const char *leader = herd_json_str(obj, "leader", "");
		const char *member = herd_json_str(obj, "member", "");
		const char *at = herd_json_str(obj, "scheduled_at", "");

		if (*at != '\0' && herd_time_parse(at, &f.scheduled_ms, NULL) < 0) {
			herd_err_set(err, -EINVAL,
				     "failover document has no valid scheduled_at: %s", at);
			json_decref(obj);
			return -EINVAL;
		}
		ok = herd_str_set(&f.leader, *leader ? leader : NULL) &&
		     herd_str_set(&f.candidate, *member ? member : NULL) &&
		     herd_str_set(&f.scheduled_at, *at ? at : NULL);
		json_decref(obj);
	}
	if (!ok) {
		herd_failover_clear(&f);
		return no_memory(err);
	}
	*ret = f;
	return 0;
}

char *herd_failover_print(const struct herd_failover *f)
{
	json_t *obj = json_object();

	put_str(obj, "leader", f->leader);
	put_str(obj, "member", f->candidate);
	put_str(obj, "scheduled_at", f->scheduled_at);
	return dump_and_free(obj);
}

void herd_failover_clear(struct herd_failover *f)
{
	free(f->leader);
	free(f->candidate);
	free(f->scheduled_at);
	*f = (struct herd_failover){ 0 };
}

int herd_status_add_slot(struct herd_status *s, const char *name, uint64_t lsn)
{
	for (size_t i = 0; i < s->n_slots; i++) {
		if (strcmp(s->slots[i].name, name) == 0) {
			s->slots[i].lsn = lsn;
			return 0;
		}
	}
	struct herd_slot_lsn *grown = realloc(s->slots, (s->n_slots + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	s->slots = grown;
	grown[s->n_slots] = (struct herd_slot_lsn){ strdup(name), lsn };
	if (!grown[s->n_slots].name)
		return -ENOMEM;
	s->n_slots++;
	return 0;
}

uint64_t herd_status_slot(const struct herd_status *s, const char *name)
{
	for (size_t i = 0; i < s->n_slots; i++)
		if (strcmp(s->slots[i].name, name) == 0)
			return s->slots[i].lsn;
	return 0;
}

static uint64_t positive(const json_t *v)
{
	int64_t n = 0;

	if (json_is_integer(v))
		n = json_integer_value(v);
	else if (json_is_string(v) && herd_str_to_i64(json_string_value(v), &n) < 0)
		n = 0;
	return n > 0 ? (uint64_t)n : 0;
}

int herd_status_parse(const char *text, size_t len, struct herd_status *ret, struct herd_err *err)
{
	struct herd_status s = { 0 };
	json_t *v = herd_json_parse(text, len, err), *item;
	const char *key;
	size_t i;
	int r = 0;

	if (!v)
		return herd_err_prefix(err, "status document"), -EINVAL;
	if (json_is_integer(v)) {
		s.optime = positive(v);
	} else if (!json_is_object(v)) {
		json_decref(v);
		return herd_err_set(err, -EINVAL, "status document is not a JSON object");
	} else {
		s.optime = positive(json_object_get(v, "optime"));
		json_object_foreach(json_object_get(v, "slots"), key, item)
		{
			if (r == 0 && positive(item) > 0)
				r = herd_status_add_slot(&s, key, positive(item));
		}
		json_array_foreach(json_object_get(v, "retain_slots"), i, item)
		{
			if (r == 0 && json_is_string(item))
				r = herd_names_add(&s.retain_slots, json_string_value(item));
		}
	}
	json_decref(v);
	if (r < 0) {
		herd_status_clear(&s);
		return no_memory(err);
	}
	*ret = s;
	return 0;
}

char *herd_status_print(const struct herd_status *s)
{
	json_t *obj = json_object();

	json_object_set_new(obj, "optime", json_integer((json_int_t)s->optime));
	if (s->n_slots > 0) {
		json_t *slots = json_object();

		for (size_t i = 0; i < s->n_slots; i++)
			json_object_set_new(slots, s->slots[i].name,
					    json_integer((json_int_t)s->slots[i].lsn));
		json_object_set_new(obj, "slots", slots);
	}
	if (s->retain_slots.n > 0) {
		json_t *list = json_array();

		for (size_t i = 0; i < s->retain_slots.n; i++)
			json_array_append_new(list, json_string(s->retain_slots.name[i]));
		json_object_set_new(obj, "retain_slots", list);
	}
	return dump_and_free(obj);
}

void herd_status_clear(struct herd_status *s)
{
	for (size_t i = 0; i < s->n_slots; i++)
		free(s->slots[i].name);
	free(s->slots);
	herd_names_clear(&s->retain_slots);
	*s = (struct herd_status){ 0 };
}

int herd_failsafe_add(struct herd_failsafe *f, const char *name, const char *api_url)
{
	struct herd_failsafe_member *grown = realloc(f->member, (f->n + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	f->member = grown;
	grown[f->n] = (struct herd_failsafe_member){ strdup(name), strdup(api_url) };
	f->n++;
	return grown[f->n - 1].name && grown[f->n - 1].api_url ? 0 : -ENOMEM;
}

const char *herd_failsafe_url(const struct herd_failsafe *f, const char *name)
{
	for (size_t i = 0; i < f->n; i++)
		if (herd_str_eq(f->member[i].name, name))
			return f->member[i].api_url;
	return NULL;
}

int herd_failsafe_parse(const char *text, size_t len, struct herd_failsafe *ret,
			struct herd_err *err)
{
	struct herd_failsafe f = { 0 };
	json_t *obj = parse_object("failsafe document", text, len, err), *url;
	const char *name;
	int r = 0;

	if (!obj)
		return -EINVAL;
	json_object_foreach(obj, name, url)
	{
		if (r == 0 && json_is_string(url))
			r = herd_failsafe_add(&f, name, json_string_value(url));
	}
	json_decref(obj);
	if (r < 0) {
		herd_failsafe_clear(&f);
		return no_memory(err);
	}
	*ret = f;
	return 0;
}

char *herd_failsafe_print(const struct herd_failsafe *f)
{
	json_t *obj = json_object();

	for (size_t i = 0; i < f->n; i++)
		put_str(obj, f->member[i].name, f->member[i].api_url);
	return dump_and_free(obj);
}

void herd_failsafe_clear(struct herd_failsafe *f)
{
	for (size_t i = 0; i < f->n; i++) {
		free(f->member[i].name);
		free(f->member[i].api_url);
	}
	free(f->member);
	*f = (struct herd_failsafe){ 0 };
}

static const char *const phases[] = { "prepare", "shutdown", "done", "aborted" };

const char *herd_handover_phase_text(enum herd_handover_phase p)
{
	return phases[p];
}

int herd_handover_parse(const char *text, size_t len, struct herd_handover *ret,
			struct herd_err *err)
{
	struct herd_handover h = { 0 };
	json_t *obj = parse_object("handover document", text, len, err);
	int phase = -1, r = 0;

	if (!obj)
		return -EINVAL;
	const char *id = herd_json_str(obj, "id", NULL);
	const char *word = herd_json_str(obj, "phase", "");

	for (int i = 0; i < 4; i++)
		if (strcmp(word, phases[i]) == 0)
			phase = i;
	if (!id || phase < 0) {
		r = herd_err_set(err, -EINVAL, "handover document has no valid %s",
				 id ? "phase" : "id");
	} else {
		h.phase = (enum herd_handover_phase)phase;
		h.deadline_ms = herd_json_i64(obj, "deadline_ms", 0);
		if (!herd_str_set(&h.id, id) ||
		    !herd_str_set(&h.from, herd_json_str(obj, "from", NULL)) ||
		    !herd_str_set(&h.to, herd_json_str(obj, "to", NULL)))
			r = no_memory(err);
	}
	json_decref(obj);
	if (r < 0)
		herd_handover_clear(&h);
	else
		*ret = h;
	return r;
}

char *herd_handover_print(const struct herd_handover *h)
{
	json_t *obj = json_object();

	put_str(obj, "id", h->id);
	put_str(obj, "from", h->from);
	put_str(obj, "to", h->to);
	put_str(obj, "phase", phases[h->phase]);
	json_object_set_new(obj, "deadline_ms", json_integer(h->deadline_ms));
	return dump_and_free(obj);
}

int herd_handover_copy(const struct herd_handover *from, struct herd_handover *ret)
{
	struct herd_handover h = { .phase = from->phase, .deadline_ms = from->deadline_ms };

	if (!herd_str_set(&h.id, from->id) || !herd_str_set(&h.from, from->from) ||
	    !herd_str_set(&h.to, from->to)) {
		herd_handover_clear(&h);
		return -ENOMEM;
	}
	*ret = h;
	return 0;
}

void herd_handover_clear(struct herd_handover *h)
{
	free(h->id);
	free(h->from);
	free(h->to);
	*h = (struct herd_handover){ 0 };
}

int herd_proxy_set_ack(struct herd_proxy *p, const char *group, const char *handover)
{
	for (size_t i = 0; i < p->n_acks; i++) {
		if (strcmp(p->acks[i].group, group) != 0)
			continue;
		if (handover)
			return herd_str_set(&p->acks[i].handover, handover) ? 0 : -ENOMEM;
		free(p->acks[i].group);
		free(p->acks[i].handover);
		p->acks[i] = p->acks[--p->n_acks];
		return 0;
	}
	if (!handover)
		return 0;
	struct herd_proxy_ack *grown = realloc(p->acks, (p->n_acks + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	p->acks = grown;
	grown[p->n_acks] = (struct herd_proxy_ack){ strdup(group), strdup(handover) };
	p->n_acks++;
	return grown[p->n_acks - 1].group && grown[p->n_acks - 1].handover ? 0 : -ENOMEM;
}

const char *herd_proxy_ack(const struct herd_proxy *p, const char *group)
{
	for (size_t i = 0; i < p->n_acks; i++)
		if (herd_str_eq(p->acks[i].group, group))
			return p->acks[i].handover;
	return NULL;
}

int herd_proxy_parse(const char *id, const char *text, size_t len, struct herd_proxy *ret,
		     struct herd_err *err)
{
	struct herd_proxy p = { 0 };
	json_t *obj = parse_object("proxy document", text, len, err), *ack;
	const char *group;
	int r = 0;

	if (!obj)
		return -EINVAL;
	if (!herd_str_set(&p.id, id) ||
	    !herd_str_set(&p.address, herd_json_str(obj, "address", NULL)))
		r = -ENOMEM;
	json_object_foreach(json_object_get(obj, "acks"), group, ack)
	{
		if (r == 0 && json_is_string(ack))
			r = herd_proxy_set_ack(&p, group, json_string_value(ack));
	}
	json_decref(obj);
	if (r < 0) {
		herd_proxy_clear(&p);
		return no_memory(err);
	}
	*ret = p;
	return 0;
}

char *herd_proxy_print(const struct herd_proxy *p)
{
	json_t *obj = json_object(), *acks = json_object();

	put_str(obj, "id", p->id);
	put_str(obj, "address", p->address);
	for (size_t i = 0; i < p->n_acks; i++)
		put_str(acks, p->acks[i].group, p->acks[i].handover);
	json_object_set_new(obj, "acks", acks);
	return dump_and_free(obj);
}

void herd_proxy_clear(struct herd_proxy *p)
{
	for (size_t i = 0; i < p->n_acks; i++) {
		free(p->acks[i].group);
		free(p->acks[i].handover);
	}
	free(p->acks);
	free(p->id);
	free(p->address);
	*p = (struct herd_proxy){ 0 };
}
