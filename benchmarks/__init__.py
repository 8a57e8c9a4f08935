"""What keevx_async costs, measured against peers and a plain aiohttp loop; see README.md."""
