"""The command line of cryosentinel: parse, build settings, call one workflow, say what came out."""
