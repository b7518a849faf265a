module portcullis.test/pause

go 1.26.0
