import Glibc

// One round of one measurement of ours; `Benchmarks/run` interleaves rounds with those of the peers.

let words = CommandLine.arguments.dropFirst().map { $0 }

func usage() -> Never {
  print(
    """
    usage: bench append FOLDER BATCH RECORDS       one task, BATCH records a call
           bench group FOLDER TASKS RECORDS        TASKS tasks, one record a call
           bench chain FOLDER MESSAGES             seven empty stages, 10 KiB messages
           bench fill FOLDER RECORDS               leaves RECORDS of 300 bytes waiting
           bench grow FOLDER RECORDS               appends and hops RECORDS beside those that wait
           bench mime FOLDER ROUNDS read|decode|summary   every message in FOLDER
           bench documents FOLDER FILE             what is found of every message in FOLDER, for:
           bench search FOLDER FILE ROUNDS         documents into the search index
           bench slow FOLDER SECONDS SLOW-PERCENT  latency of ordinary messages at 100 a second
           bench kafka WORDS                       on a Kafka cluster, see Kafka.swift
    """)
  exit(64)
}

func number(_ index: Int) -> Int {
  guard words.indices.contains(index), let number = Int(words[index]), number >= 0 else { usage() }
  return number
}

guard words.count >= 3 else { usage() }
let folder = words[1]
switch words[0] {
case "append": try await Append.run(folder, batch: number(2), records: number(3))
case "group": try await Append.runGroup(folder, tasks: number(2), records: number(3))
case "chain": try await Chain.run(folder, messages: number(2))
case "fill": try await Growth.fill(folder, records: number(2))
case "grow": try await Growth.run(folder, records: number(2))
case "mime": try MIME.run(folder, rounds: number(2), words.dropFirst(3).first ?? "")
case "documents": try Search.write(folder, to: words[2])
case "search": try await Search.run(folder, documents: words[2], rounds: number(3))
case "slow": try await Slow.run(folder, seconds: number(2), slowPercent: number(3))
case "kafka": try await Kafka.run(Array(words.dropFirst()))
default: usage()
}
