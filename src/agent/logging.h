/*
 * agent/logging.h - section log of the configuration, put into force.
 */
#pragma once
#include "agent/config.h"
#include "base/log.h"

/* What schema.h cannot tell: the fields that formats name. 0 or -EINVAL. */
int herd_logging_check(const json_t *config, struct herd_err *err);
/* Never fails: what cannot be had (a directory, say) is told on stderr and done without. */
void herd_logging_configure(struct herd_log *log, const struct herd_agent_config *cfg);
