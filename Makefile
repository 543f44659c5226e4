# Mailflow. `make run` and `make test` do all the set-up that they need.
.PHONY: help run build test check format simulate torture corpus torture-kafka fuzz bench bench-kafka clean

help: ## Says what there is
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 22

run: ## Builds and starts everything with an example domain and two users
	@Scripts/setup run
	swift build -c release --product mailflow
	@Scripts/run

build: ## Builds the release binary
	@Scripts/setup run
	swift build -c release --product mailflow

test: ## Installs what the tests need and runs them all
	@Scripts/setup test
	@Scripts/test

check: ## Format, and who may import whom
	@Scripts/check

format: ## Formats every Swift file
	swift format format -i --parallel --configuration .swift-format $$(git ls-files --cached --others --exclude-standard '*.swift')

simulate: ## 100,000 simulated runs, release build (SEEDS=n FIRST=n)
	swift build -c release --product simulate
	$$(swift build -c release --show-bin-path)/simulate $(or $(FIRST),1) $(or $(SEEDS),100000)

torture: ## Kills every process in turn under load, at least 60 times (KILLS=n); hostile SMTP clients, the long forms
	@Scripts/setup test
	swift build -c release --product mailflow
	MAILFLOW_BINARY=$$(swift build -c release --show-bin-path)/mailflow KILLS=$(or $(KILLS),60) python3 -W ignore -m unittest discover -v -s Tests/Scenarios -p test_crash.py
	MAILFLOW_BINARY=$$(swift build -c release --show-bin-path)/mailflow TORTURE=1 python3 -W ignore -m unittest discover -v -s Tests/Scenarios -p test_hostile_smtp.py
	TORTURE=1 swift test --filter SmugglingTests

corpus: ## All of ../shared/corpus through the service: stored byte for byte, found, read as Python reads it
	@Scripts/setup test
	swift build -c release --product mailflow
	swift build -c release --product mime-probe
	MAILFLOW_BINARY=$$(swift build -c release --show-bin-path)/mailflow CORPUS_LIMIT=100000 python3 -W ignore -m unittest discover -v -s Tests/Scenarios -k corpus

torture-kafka: ## Kafka's bad days, then brokers, workers and feeder bounced (SEED=n MESSAGES=n RATE=n STORM=seconds)
	@Scripts/setup test
	swift build --product kafka-bounce
	swift build --product mailflow
	MAILFLOW_BINARY=$$(swift build --show-bin-path)/mailflow KAFKA_LONG=1 python3 -W ignore -m unittest discover -v -s Tests/Scenarios -p test_kafka_days.py
	SEED=$(SEED) MESSAGES=$(or $(MESSAGES),100000) RATE=$(or $(RATE),400) STORM=$(STORM) python3 -W ignore -m unittest discover -v -s Tests/Scenarios -p test_kafka_bounce.py

fuzz: ## Parsers on damaged input by libFuzzer (SECONDS=60 each, TARGETS="HTTP …")
	@Scripts/setup run
	@Scripts/fuzz $(or $(SECONDS),60) $(TARGETS)

bench: ## Measures it beside its peers (ONLY=chain, QUICK=1)
	@Scripts/setup bench
	swift build -c release --product mailflow
	swift build -c release --product bench
	swift build -c release --product http-probe
	@Benchmarks/run $(if $(QUICK),--quick) $(ONLY)

bench-kafka: ## Measures it on a Kafka broker beside C and the embedded one (ONLY=kafka-hop, QUICK=1)
	@Scripts/setup bench-kafka
	swift build -c release --product mailflow
	swift build -c release --product bench
	@Benchmarks/run --kafka $(if $(QUICK),--quick) $(ONLY)

clean: ## Removes what was built
	swift package clean
