module github.com/recoveryd/recoveryd

go 1.26.0
