/// The records of one partition that are in hand, in order of their offsets, and which of them are done.
///
/// Only the contiguous prefix of what is done may be settled: a group's position is one offset, and everything below it
/// counts as done.
struct OffsetWindow<Item> {
  private var items: [Item] = []
  private var head = 0

  var isEmpty: Bool { head == items.count }
  var count: Int { items.count - head }
  var first: Item? { isEmpty ? nil : items[head] }

  mutating func append(_ item: Item) { items.append(item) }

  /// Removes the longest prefix for which `isDone` holds, at most `limit` items, and returns it.
  mutating func takePrefix(_ limit: Int, where isDone: (Item) -> Bool) -> [Item] {
    var end = head
    while end < items.count, end - head < limit, isDone(items[end]) { end += 1 }
    guard end > head else { return [] }
    let prefix = Array(items[head..<end])
    head = end
    if head == items.count {
      items.removeAll(keepingCapacity: items.count < 4096)
      head = 0
    } else if head > 1024, head * 2 > items.count {
      items.removeSubrange(..<head)
      head = 0
    }
    return prefix
  }

  /// Removes everything, and returns it.
  mutating func removeAll() -> [Item] {
    defer {
      items = []
      head = 0
    }
    return Array(items[head...])
  }

  func first(where condition: (Item) -> Bool) -> Item? { items[head...].first(where: condition) }
}

/// First in, first out, in constant time.
struct Queue<Element> {
  private var elements: [Element] = []
  private var head = 0

  var isEmpty: Bool { head == elements.count }
  var count: Int { elements.count - head }

  mutating func push(_ element: Element) { elements.append(element) }

  mutating func pushFront(_ element: Element) {
    if head > 0 {
      head -= 1
      elements[head] = element
    } else {
      elements.insert(element, at: 0)
    }
  }

  mutating func pop() -> Element? {
    guard head < elements.count else { return nil }
    let element = elements[head]
    head += 1
    if head == elements.count {
      elements.removeAll(keepingCapacity: head < 4096)
      head = 0
    } else if head > 1024, head * 2 > elements.count {
      elements.removeSubrange(..<head)
      head = 0
    }
    return element
  }

  /// Removes what `condition` holds for, and returns it in order.
  @discardableResult
  mutating func removeAll(where condition: (Element) -> Bool) -> [Element] {
    let removed = elements[head...].filter(condition)
    if !removed.isEmpty { elements = elements[head...].filter { !condition($0) } } else { elements.removeFirst(head) }
    head = 0
    return removed
  }
}
