"""HTTP as registries speak it: connections, proxies, ranges, redirects, retries."""
