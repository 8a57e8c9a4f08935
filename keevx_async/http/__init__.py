"""HTTP exchanges: send a request, decode the response, decide what it means, retry."""
