"""Rows in files, of whoever brings tasks or takes them away: read and written a batch at a time, whatever their size.

    formats    which there are, and how a name says it        places, bucket: where files are: paths, stdin, `s3://`
    texts      CSV and JSON lines, read                       columns: Parquet and Arrow, read
    targets    files that appear whole or not at all          writers, column_writers: rows, written

Only `columns` and `column_writers` know pyarrow, and only `bucket` knows boto3: each is imported when it is needed. Nothing here
knows the service.
"""
