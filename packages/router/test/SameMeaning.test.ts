import { SameMeaning } from "@ballast/router"
import { assert, describe, it } from "@effect/vitest"

const differences = (a: string, b: string) => SameMeaning.differences(SameMeaning.of(a), SameMeaning.of(b))

describe("SameMeaning", () => {
  const cases: ReadonlyArray<readonly [a: string, b: string, expected: ReadonlyArray<SameMeaning.Difference>]> = [
    // The same, written in another way.
    ["Export 1,000 rows", "export １０００ rows", []],
    ["I need 2.50 kg", "I need 2.5kg", []],
    ["Is Berlin's zoo open?", "is the zoo of berlin open", ["words"]],
    ["the first of two", "the 1st of 2", []],
    ["两百三十万元够吗?", "2300000元够吗?", []],
    ["能不能退款?", "是否可以退款?", []],
    ["这非常好", "这很好", ["words"]],
    ["It’s not open", "It isn't open", []],
    // Not the same.
    ["It is -5 outside", "It is 5 outside", ["numbers"]],
    ["a rate of 5 %", "a rate of 5", ["numbers"]],
    ["第三章讲什么?", "第二章讲什么?", ["numbers", "words"]],
    ["Show 'a b' here", "Show 'a c' here", ["quotes", "words"]],
    ["call getUser() twice", "call getUsers() twice", ["names"]],
    ["Does Alice know Bob?", "Does Bob know Alice?", ["names", "words"]],
    ["GPT 怎么收费?", "BERT 怎么收费?", ["names", "words"]],
    ["with tax", "without tax", ["negations"]],
    ["他没有来", "他来了", ["negations"]],
    ["Import the contacts", "Export the contacts", ["names", "opposites", "words"]],
    ["Was it legal to park there?", "Was it illegal to park there?", ["opposites", "words"]],
    ["怎么启用双重验证?", "怎么禁用双重验证?", ["opposites", "words"]],
    ["trains from rome to milan", "trains from milan to rome", ["words"]]
  ]
  it("tells numbers, quotes, names, negations, opposites and words apart", () => {
    assert.deepStrictEqual(cases.map(([a, b]) => [a, b, differences(a, b)]), cases.map((expected) => [...expected]))
  })

  it("finds none between a text and itself, and the same both ways", () => {
    for (const [a, b] of cases) {
      assert.deepStrictEqual(differences(a, a), [])
      assert.deepStrictEqual(differences(a, b), differences(b, a))
    }
  })

  it("reads a long text in a time that grows with its length", () => {
    const unfriendly = ["1,", "一", "'a ", "a.", "\"", "不", "-", "a"].map((part) => part.repeat(20_000))
    const began = process.cpuUsage().user
    for (const text of unfriendly) SameMeaning.of(text)
    assert.isBelow(process.cpuUsage().user - began, 5_000_000)
  })
})
