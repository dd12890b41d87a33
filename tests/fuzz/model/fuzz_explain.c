/* Documents of any content, a line each, are explained without harm. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/explain.h"
#include "model/time.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const keys[] = { "config",    "failover", "failsafe",
					    "history",   "leader",   "members/a",
					    "members/b", "status",   "sync" };
	enum { NKEYS = sizeof(keys) / sizeof(keys[0]) };
	struct herd_kv kv[NKEYS];
	char *text = calloc(1, size + 1), *at = text;
	size_t n = 0;

	assert(text);
	memcpy(text, data, size);
	for (size_t i = 0; i < NKEYS && at; i++) {
		char *end = strchr(at, '\n');

		if (end)
			*end = '\0';
		if (*at)
			kv[n++] = (struct herd_kv){ keys[i], at, strlen(at), 1, NULL };
		at = end ? end + 1 : NULL;
	}
	free(herd_time_normal(text));
	struct herd_scope *s = herd_scope_build(kv, n, 1, true);

	for (size_t g = 0; s && g < s->n_groups; g++) {
		static const char *const names[] = { "a", "b", "c" };

		for (size_t i = 0; i < 3; i++) {
			json_t *doc = herd_explain(&s->groups[g], names[i], NULL);
			char *lines = herd_explain_text(doc);

			assert(lines);
			free(lines);
			json_decref(doc);
		}
	}
	herd_scope_unref(s);
	free(text);
	return 0;
}
