/* Whatever is read and printed again must be read as the same value. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct herd_err err = HERD_ERR_INIT;
	json_t *v = herd_yaml_parse("fuzz", (const char *)data, size, &err);

	assert(!v == (err.code != 0));
	if (v) {
		char *text = herd_yaml_dump(v);

		assert(text);
		json_t *back = herd_yaml_parse("back", text, strlen(text), &err);

		assert(back && json_equal(v, back));
		json_decref(back);
		free(text);
	}
	json_decref(v);
	herd_err_clear(&err);
	return 0;
}
