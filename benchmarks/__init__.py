"""Benchmarks that compare keevx_async with its peers and a plain aiohttp loop; see README.md."""
