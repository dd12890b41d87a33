/* libFuzzer: the first look and the classifier over any bytes: always a verdict, never a crash. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "sql/glance.h"
#include "sql/readonly.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const char *text = (const char *)data;
	struct herd_readonly r;
	struct herd_buf b = { 0 };

	herd_readonly_check(text, n, &r);
	assert(r.maybe == (r.why == NULL));
	/* What a request says by its first words never contradicts the parser. */
	enum herd_glance_kind kind = herd_glance(text, n).kind;

	if (r.maybe)
		assert(kind == HERD_GLANCE_QUERY);
	herd_glance_normalize(text, n, &b);
	herd_buf_free(&b);
	herd_readonly_free(&r);
	return 0;
}
