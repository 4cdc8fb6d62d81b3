#!/bin/sh
# The port is a variable: the configuration below /etc is rewritten, in place, as the official images do.
set -eu
sed -i "s/listen [0-9]*;/listen ${NGINX_PORT};/" /etc/nginx/conf.d/default.conf
