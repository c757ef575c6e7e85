"""HTTP in, HTTP out: parse, call one service, shape the answer."""
