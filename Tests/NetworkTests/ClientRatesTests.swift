import Testing

@testable import Network

@Suite struct ClientRatesTests {
  private let second: Int64 = 1_000_000
  private func address(_ number: Int) throws -> IPAddress {
    try #require(IPAddress(bytes: [198, 51, UInt8(number / 256), UInt8(number % 256)]))
  }

  @Test func soManyAtOnceAndThenOneByOne() throws {
    let rates = ClientRates(limit: 60)
    let client = try address(1)
    for _ in 0..<60 { #expect(rates.take(client, at: 0)) }
    #expect(!rates.take(client, at: 0))
    #expect(!rates.take(client, at: second - 1))
    #expect(rates.take(client, at: second))
    #expect(!rates.take(client, at: second))
    #expect(rates.take(try address(2), at: second))
    // Whoever was away for a period may do it all again, and no more.
    for _ in 0..<60 { #expect(rates.take(client, at: 100 * second)) }
    #expect(!rates.take(client, at: 100 * second))
  }

  @Test func zeroIsNoLimitAndLoopbackHasNone() throws {
    let none = ClientRates(limit: 0)
    let client = try address(1)
    for _ in 0..<1000 { #expect(none.take(client, at: 0)) }
    #expect(none.remembered == 0)
    let loopback = try #require(IPAddress("::1"))
    let one = ClientRates(limit: 1)
    for _ in 0..<3 { #expect(one.take(loopback, at: 0)) }
    let counting = ClientRates(limit: 1, countsLoopback: true)
    #expect(counting.take(loopback, at: 0))
    #expect(!counting.take(loopback, at: 0))
  }

  /// Those that come when no more can be remembered share one allowance; those who are known keep theirs.
  @Test func memoryIsBounded() throws {
    let rates = ClientRates(limit: 2, clients: 100)
    for number in 0..<100 { #expect(rates.take(try address(number), at: 0)) }
    let strangers = try (100..<200).map { rates.take(try address($0), at: 0) }
    #expect(strangers.filter { $0 }.count == 2)
    #expect(rates.remembered == 100)
    #expect(rates.take(try address(7), at: 0))
    #expect(!rates.take(try address(7), at: 0))
    // A period later nothing is held against anybody.
    for number in 200..<250 { #expect(rates.take(try address(number), at: 61 * second)) }
    #expect(rates.remembered <= 100)
  }
}
