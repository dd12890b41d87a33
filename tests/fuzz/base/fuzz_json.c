/* A patch with the result of a patch changes nothing any more. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct herd_err err = HERD_ERR_INIT;
	const uint8_t *split = memchr(data, '\n', size);
	size_t first = split ? (size_t)(split - data) : size;
	json_t *v = herd_json_parse((const char *)data, first, &err);
	json_t *patch =
		split ? herd_json_parse((const char *)split + 1, size - first - 1, NULL) : NULL;

	assert(!v == (err.code != 0));
	if (json_is_object(v) && json_is_object(patch)) {
		herd_json_patch(v, patch);
		assert(!herd_json_patch(v, patch));
	}
	if (v) {
		char *text = herd_json_dump(v);
		json_t *back = herd_json_parse(text, strlen(text), NULL);

		assert(back && json_equal(v, back));
		json_decref(back);
		free(text);
	}
	json_decref(v);
	json_decref(patch);
	herd_err_clear(&err);
	return 0;
}
