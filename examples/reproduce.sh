#!/bin/sh
# The published figures again: released weights, released chips, the published table beside ours. Wants a network and, better, a GPU.
exec cryosentinel evaluate --published "$@"
