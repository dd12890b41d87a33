#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/ini.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int ignore(void *arg, const char *section, const char *key, const char *value,
		  struct herd_err *err)
{
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct herd_err err = HERD_ERR_INIT;
	char *text = strndup((const char *)data, size);

	/* Inclusion would read files of this machine. */
	if (!strstr(text, "%include"))
		herd_ini_parse("fuzz", text, ignore, NULL, &err);
	herd_err_clear(&err);
	herd_ini_conninfo(text, ignore, NULL, &err);
	herd_err_clear(&err);
	free(text);
	return 0;
}
