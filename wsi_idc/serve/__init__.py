"""A web page to submit slides to, and an API: uploads, a queue, results."""
