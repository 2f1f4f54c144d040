"""What requests and answers hold, one noun a module: Pydantic models, which also make the OpenAPI page.

Unknown fields of a request are refused. Fields of an answer that are absent are left out, never null.
"""
