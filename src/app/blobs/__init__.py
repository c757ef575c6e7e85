"""Where the bytes of files lie: in the database, in a folder or in an S3 bucket."""
