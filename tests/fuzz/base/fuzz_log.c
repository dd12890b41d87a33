/* A format that is taken makes one line of any message; one that is not is refused with a reason.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int null = -1;
	const uint8_t *split = memchr(data, '\n', size);
	char *format = strndup((const char *)data, split ? (size_t)(split - data) : size);
	char *text = split ? strndup((const char *)split + 1, size - (size_t)(split - data) - 1)
			   : strdup("");
	struct herd_err err = HERD_ERR_INIT;

	if (null < 0)
		null = open("/dev/null", O_WRONLY);
	for (int json = 0; json < 2; json++) {
		struct herd_log *log = herd_log_new(null, HERD_LOG_PATRONI, HERD_LOG_INFO);
		struct herd_log_opts o = { .json = json,
					   .format = format,
					   .dateformat = text,
					   .mode = -1,
					   .max_queue = 4 };

		if (herd_log_configure(log, &o, &err) == 0)
			herd_info(log, "%s", text);
		else
			assert(err.code && *herd_err_text(&err));
		herd_log_free(log);
	}
	herd_err_clear(&err);
	free(format);
	free(text);
	return 0;
}
