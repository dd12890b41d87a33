#include "model/config.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/str.h"
#include "model/value.h"

static void warn(struct herd_config *c, char *text)
{
	if (text)
		herd_names_add(&c->warnings, text);
	free(text);
}

int herd_config_time(const json_t *v, int64_t unit_ms, int64_t *ret)
{
	static const struct {
		const char *name;
		int64_t ms;
	} units[] = {
		{ "ms", 1 }, { "s", 1000 }, { "min", 60000 }, { "h", 3600000 }, { "d", 86400000 }
	};
	double n;

	if (json_is_integer(v)) {
		n = (double)json_integer_value(v);
	} else if (json_is_real(v)) {
		n = json_real_value(v);
	} else if (json_is_string(v)) {
		char *end;
		const char *text = json_string_value(v);

		n = strtod(text, &end);
		if (end == text)
			return -EINVAL;
		while (*end == ' ')
			end++;
		bool known = *end == '\0';

		for (size_t i = 0; i < sizeof(units) / sizeof(*units) && !known; i++) {
			if (strcmp(end, units[i].name) != 0)
				continue;
			unit_ms = units[i].ms;
			known = true;
		}
		if (!known)
			return -EINVAL;
	} else {
		return -EINVAL;
	}
	if (!(n >= -1e12 && n <= 1e12))
		return -ERANGE;
	*ret = (int64_t)(n * (double)unit_ms);
	return 0;
}

/* A number of seconds (or a text with a unit) at least min; anything else is replaced. */
static int64_t seconds(struct herd_config *c, const json_t *obj, const char *key, int64_t min_ms,
		       int64_t fallback_ms)
{
	const json_t *v = json_object_get(obj, key);
	int64_t ms;

	if (!v || json_is_null(v))
		return fallback_ms;
	if (herd_config_time(v, 1000, &ms) < 0 || ms > INT64_C(1000) * INT32_MAX) {
		warn(c, herd_str_printf("%s is not a number of seconds, using %" PRId64, key,
					fallback_ms / 1000));
		return fallback_ms;
	}
	if (ms < min_ms) {
		warn(c, herd_str_printf("%s=%" PRId64 " is less than the minimum, using %" PRId64,
					key, ms / 1000, min_ms / 1000));
		return min_ms;
	}
	return ms;
}

/* A number (of bytes, with a unit): the nearest one in its range; what is none is replaced. */
static int64_t number(struct herd_config *c, const json_t *obj, const char *key, int64_t min,
		      int64_t max, int64_t fallback)
{
	const json_t *v = json_object_get(obj, key);
	int64_t n, in;

	if (!v || json_is_null(v))
		return fallback;
	if (herd_value_i64(v, HERD_UNIT_BYTE, &n) < 0) {
		warn(c, herd_str_printf("%s is not a number, using %" PRId64, key, fallback));
		return fallback;
	}
	in = n < min ? min : n > max ? max : n;
	if (in != n)
		warn(c,
		     herd_str_printf("%s=%" PRId64 " is out of range, using %" PRId64, key, n, in));
	return in;
}

static void say(struct herd_names *words, char *text)
{
	if (text && words)
		herd_names_add(words, text);
	free(text);
}

static void raise_to(int64_t *v, int64_t min, const char *name, struct herd_names *words)
{
	if (*v >= min)
		return;
	say(words, herd_str_printf("%s=%" PRId64 " can't be smaller than %" PRId64 ", adjusting...",
				   name, *v, min));
	*v = min;
}

bool herd_timing_repair(struct herd_timing *t, bool guard, struct herd_names *words)
{
	struct herd_timing before = *t, raised;

	raise_to(&t->loop_wait, 1, "loop_wait", words);
	raise_to(&t->retry_timeout, guard ? 1 : 3, "retry_timeout", words);
	raise_to(&t->ttl, guard ? 3 : 20, "ttl", words);
	raised = *t;
	if (1 + 2 * t->retry_timeout > t->ttl) {
		t->loop_wait = 1;
		t->retry_timeout = (t->ttl - 1) / 2;
		say(words, herd_str_printf("Violated the rule \"loop_wait + 2*retry_timeout <= "
					   "ttl\", where ttl=%" PRId64
					   ". Adjusting loop_wait from %" PRId64 " to %" PRId64
					   " and retry_timeout from %" PRId64 " to %" PRId64,
					   t->ttl, raised.loop_wait, t->loop_wait,
					   raised.retry_timeout, t->retry_timeout));
	} else if (t->loop_wait + 2 * t->retry_timeout > t->ttl) {
		t->loop_wait = t->ttl - 2 * t->retry_timeout;
		say(words,
		    herd_str_printf("Violated the rule \"loop_wait + 2*retry_timeout <= "
				    "ttl\", where ttl=%" PRId64 " and retry_timeout=%" PRId64
				    ". Adjusting loop_wait from %" PRId64 " to %" PRId64,
				    t->ttl, t->retry_timeout, raised.loop_wait, t->loop_wait));
	}
	return t->ttl != before.ttl || t->loop_wait != before.loop_wait ||
	       t->retry_timeout != before.retry_timeout;
}

/* Seconds of at most a century, rounded; anything else is replaced. */
static int64_t timing(struct herd_config *c, const json_t *obj, const char *key, int64_t fallback)
{
	const json_t *v = json_object_get(obj, key);
	int64_t n;

	if (!v || json_is_null(v))
		return fallback;
	if (herd_value_i64(v, HERD_UNIT_SECOND, &n) < 0 || n > INT32_MAX || n < INT32_MIN) {
		warn(c, herd_str_printf("%s is not a number of seconds, using %" PRId64, key,
					fallback));
		return fallback;
	}
	return n;
}

static void read_timings(struct herd_config *c, const json_t *obj, bool guard)
{
	struct herd_timing t = {
		.ttl = timing(c, obj, "ttl", 30),
		.loop_wait = timing(c, obj, "loop_wait", 10),
		.retry_timeout = timing(c, obj, "retry_timeout", 10),
	};

	herd_timing_repair(&t, guard, &c->warnings);
	c->ttl_ms = 1000 * t.ttl;
	c->loop_wait_ms = 1000 * t.loop_wait;
	c->retry_timeout_ms = 1000 * t.retry_timeout;
}

static enum herd_sync_mode sync_mode(struct herd_config *c, const json_t *obj)
{
	const json_t *v = json_object_get(obj, "synchronous_mode");
	const char *text = json_string_value(v);
	bool on;

	if (!v || json_is_null(v))
		return HERD_SYNC_OFF;
	if (text && strcasecmp(text, "quorum") == 0)
		return HERD_SYNC_QUORUM;
	if (text && herd_str_to_bool(text, &on) < 0)
		warn(c, herd_str_printf("synchronous_mode \"%s\" is not one of off, on, quorum, "
					"using off",
					text));
	return herd_json_bool(obj, "synchronous_mode", false) ? HERD_SYNC_ON : HERD_SYNC_OFF;
}

static bool is_slot_name(const char *name)
{
	size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");

	return len > 0 && len < 64 && name[len] == '\0';
}

/* What Python takes for false: null, false, 0, "" and what is empty. */
static bool is_nothing(const json_t *v)
{
	return !json_is_true(v) && !(json_is_number(v) && json_number_value(v) != 0) &&
	       !(json_is_string(v) && json_string_length(v) > 0) && json_object_size(v) == 0 &&
	       json_array_size(v) == 0;
}

static int read_slot(struct herd_config *c, const char *name, const json_t *v)
{
	const char *type = herd_json_str(v, "type", NULL);
	const char *of = herd_json_str(v, "cluster_type", "");
	const char *database = herd_json_str(v, "database", ""),
		   *plugin = herd_json_str(v, "plugin", "");
	struct herd_slot_config s = { 0 };

	if (!is_slot_name(name)) {
		warn(c, herd_str_printf("Invalid permanent replication slot name '%s'", name));
		return 0;
	}
	/* People write `name: 0` for a physical slot. */
	if (is_nothing(v))
		type = "physical";
	else if (!type && json_is_object(v))
		type = *database && *plugin ? "logical" : "physical";
	s.type = type && strcmp(type, "logical") == 0 ? HERD_SLOT_LOGICAL : HERD_SLOT_PHYSICAL;
	s.cluster_type = strcmp(of, "primary") == 0   ? HERD_SLOT_PRIMARY
			 : strcmp(of, "standby") == 0 ? HERD_SLOT_STANDBY
						      : HERD_SLOT_ANY_CLUSTER;
	if (!type || (s.type == HERD_SLOT_PHYSICAL && strcmp(type, "physical") != 0) ||
	    (s.type == HERD_SLOT_LOGICAL && (!*database || !*plugin))) {
		warn(c, herd_str_printf("Bad value for slot '%s' in permanent_slots", name));
		return 0;
	}
	struct herd_slot_config *grown = realloc(c->slots, (c->n_slots + 1) * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	c->slots = grown;
	c->slots[c->n_slots++] = s;
	struct herd_slot_config *at = &c->slots[c->n_slots - 1];

	if (!herd_str_set(&at->name, name) ||
	    (s.type == HERD_SLOT_LOGICAL &&
	     (!herd_str_set(&at->database, database) || !herd_str_set(&at->plugin, plugin))))
		return -ENOMEM;
	return 0;
}

/* A text that is empty stands for none, but for the name. */
static const char *some_text(const json_t *v, const char *key)
{
	const char *text = herd_json_str(v, key, NULL);

	return text && *text ? text : NULL;
}

static int read_ignore(struct herd_config *c, const json_t *v)
{
	const char *type = some_text(v, "type");
	struct herd_slot_ignore *grown;

	if (!json_is_object(v))
		return 0;
	grown = realloc(c->ignore, (c->n_ignore + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	c->ignore = grown;
	struct herd_slot_ignore *at = &c->ignore[c->n_ignore++];

	*at = (struct herd_slot_ignore){ .type = HERD_SLOT_ANY_TYPE };
	if (type)
		at->type = strcmp(type, "logical") == 0    ? HERD_SLOT_LOGICAL
			   : strcmp(type, "physical") == 0 ? HERD_SLOT_PHYSICAL
							   : HERD_SLOT_NO_TYPE;
	return herd_str_set(&at->name, herd_json_str(v, "name", NULL)) &&
			       herd_str_set(&at->database, some_text(v, "database")) &&
			       herd_str_set(&at->plugin, some_text(v, "plugin"))
		       ? 0
		       : -ENOMEM;
}

/* Patroni wrote other names in former versions; documents of that time are still in stores. */
static const char *current_name(const json_t *obj, const char *name, const char *former)
{
	const json_t *v = json_object_get(obj, name);

	return !v || json_is_null(v) ? former : name;
}

static const char *slots_key(const json_t *obj)
{
	return current_name(obj, "slots",
			    current_name(obj, "permanent_replication_slots", "permanent_slots"));
}

static int read_slots(struct herd_config *c, const json_t *obj)
{
	json_t *v;
	const char *name;
	size_t i;
	int r = 0;

	json_object_foreach(json_object_get(obj, slots_key(obj)), name, v)
	{
		if (r == 0)
			r = read_slot(c, name, v);
	}
	json_array_foreach(json_object_get(obj, "ignore_slots"), i, v)
	{
		if (r == 0)
			r = read_ignore(c, v);
	}
	return r;
}

/* "5432", or a list with commas. */
static bool good_ports(const char *text)
{
	for (;; text++) {
		char *end;
		long n = *text >= '0' && *text <= '9' ? strtol(text, &end, 10) : 0;

		if (n < 1 || n > 65535 || (*end != ',' && *end != '\0'))
			return false;
		if (*end == '\0')
			return true;
		text = end;
	}
}

static int read_standby_cluster(struct herd_config *c, const json_t *obj)
{
	const json_t *v = json_object_get(obj, "standby_cluster");
	const char *host = herd_json_str(v, "host", ""),
		   *cmd = herd_json_str(v, "restore_command", "");
	const json_t *port = json_object_get(v, "port");
	const char *slot = herd_json_str(v, "primary_slot_name", "");
	char *text;

	if (!json_is_object(v))
		return 0;
	/* A number, or a list with as many as there are hosts. */
	text = json_is_integer(port)
		       ? herd_str_printf("%" JSON_INTEGER_FORMAT, json_integer_value(port))
	       : json_is_string(port) ? herd_str_dup(json_string_value(port))
				      : NULL;
	if (text && !good_ports(text)) {
		if (*text)
			warn(c, herd_str_printf("standby_cluster.port \"%s\" is not a port, using "
						"5432",
						text));
		free(text);
		text = NULL;
	}
	c->standby_cluster = *host || *cmd || text;
	c->standby_port = text ? text : herd_str_dup("5432");
	/* A port alone is one of this machine, as libpq sees it. */
	return c->standby_port &&
			       herd_str_set(&c->standby_host, *host  ? host
							      : text ? "localhost"
								     : NULL) &&
			       herd_str_set(&c->standby_slot, *slot ? slot : NULL)
		       ? 0
		       : -ENOMEM;
}

static void read_numbers(struct herd_config *c, const json_t *obj, bool guard)
{
	const json_t *handover = json_object_get(obj, "handover");

	read_timings(c, obj, guard);
	c->maximum_lag_on_failover =
		number(c, obj, "maximum_lag_on_failover", 0, INT64_MAX, 1048576);
	c->maximum_lag_on_syncnode =
		number(c, obj, "maximum_lag_on_syncnode", -INT64_MAX, INT64_MAX, -1);
	c->max_timelines_history = (int)number(c, obj, "max_timelines_history", 0, INT32_MAX, 0);
	c->primary_start_timeout_ms =
		seconds(c, obj, current_name(obj, "primary_start_timeout", "master_start_timeout"),
			0, 300000);
	c->primary_stop_timeout_ms = seconds(
		c, obj, current_name(obj, "primary_stop_timeout", "master_stop_timeout"), 0, 0);
	c->primary_race_backoff_ms = seconds(c, obj, "primary_race_backoff", 0, 0);
	c->member_slots_ttl_ms = seconds(c, obj, "member_slots_ttl", 0, 1800000);
	c->synchronous_node_count = (int)number(c, obj, "synchronous_node_count", 1, 1000, 1);
	c->handover_transactions_ms = seconds(c, handover, "transactions", 0, 5000);
	c->handover_acks_ms = seconds(c, handover, "acks", 0, 1000);
	c->probe_failover =
		strcmp(herd_json_str(json_object_get(obj, "probe"), "mode", ""), "failover") == 0;
}

int herd_config_from_json(json_t *obj, bool guard, struct herd_config *ret)
{
	struct herd_config c = { .raw = json_is_object(obj) ? json_incref(obj) : json_object() };
	const json_t *pg = json_object_get(c.raw, "postgresql");

	if (!c.raw)
		return -ENOMEM;
	read_numbers(&c, c.raw, guard);
	c.synchronous_mode = sync_mode(&c, c.raw);
	c.synchronous_mode_strict = herd_json_bool(c.raw, "synchronous_mode_strict", false);
	c.failsafe_mode = herd_json_bool(c.raw, "failsafe_mode", false);
	c.check_timeline = herd_json_bool(c.raw, "check_timeline", false);
	c.pause = herd_json_bool(c.raw, "pause", false);
	c.use_slots = herd_json_bool(pg, "use_slots", true);
	if (read_slots(&c, c.raw) < 0 || read_standby_cluster(&c, c.raw) < 0) {
		herd_config_clear(&c);
		return -ENOMEM;
	}
	/* Commits are made elsewhere. */
	if (c.standby_cluster)
		c.synchronous_mode = HERD_SYNC_OFF;
	*ret = c;
	return 0;
}

int herd_config_parse(const char *text, size_t len, bool guard, struct herd_config *ret,
		      struct herd_err *err)
{
	json_t *obj = herd_json_parse(text, len, err);
	int r;

	if (!obj)
		return herd_err_prefix(err, "config document"), -EINVAL;
	if (!json_is_object(obj))
		r = herd_err_set(err, -EINVAL, "config document is not a JSON object");
	else if ((r = herd_config_from_json(obj, guard, ret)) < 0)
		herd_err_set(err, r, "out of memory");
	json_decref(obj);
	return r;
}

void herd_config_clear(struct herd_config *c)
{
	for (size_t i = 0; i < c->n_slots; i++) {
		free(c->slots[i].name);
		free(c->slots[i].database);
		free(c->slots[i].plugin);
	}
	for (size_t i = 0; i < c->n_ignore; i++) {
		free(c->ignore[i].name);
		free(c->ignore[i].database);
		free(c->ignore[i].plugin);
	}
	free(c->slots);
	free(c->ignore);
	free(c->standby_host);
	free(c->standby_port);
	free(c->standby_slot);
	json_decref(c->raw);
	herd_names_clear(&c->warnings);
	*c = (struct herd_config){ 0 };
}
