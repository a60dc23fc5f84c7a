# The commands of the project by name; each is one that the README or CONTRIBUTING.md shows, too.
.PHONY: quickstart test test-quick test-all docs lint

quickstart:  ## install, tune the mini CLIP on digits, test it
	bash tools/quickstart.sh

test:  ## install, run the tests
	bash tools/run_tests.sh

test-quick:  ## those that take no long time
	bash tools/run_tests.sh quick

test-all:  ## the slow tests, too
	bash tools/run_tests.sh all

docs:  ## build the documentation: work_dirs/site/index.html
	bash tools/build_docs.sh

lint:  ## style, types, figures of the texts
	bash -c 'source tools/_environment.sh && prepare_environment tests && pre-commit run --all-files'
