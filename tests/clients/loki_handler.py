"""python-logging-loki: a handler of the standard library's logging, and one with a queue."""

import logging
import sys

import logging_loki

logging_loki.emitter.LokiEmitter.level_tag = "level"
handler = logging_loki.LokiHandler(
    url=f"{sys.argv[1]}/loki/api/v1/push", tags={"application": "handler-test"}, version="1"
)
# What cannot be sent is an error and not a line on standard error.
handler.handleError = lambda record: sys.exit("the push failed: " + str(sys.exc_info()))
logger = logging.getLogger("shop")
logger.addHandler(handler)
for n in range(3):
    logger.error('order "%d" is lost', n, extra={"tags": {"order": "lost"}})
