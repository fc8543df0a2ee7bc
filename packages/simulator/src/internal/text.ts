/** Believable text about what a prompt is about, in the prompt's language. Sense is not promised. */
import type { Draw } from "./draw.ts"
import * as Tokens from "./tokens.ts"

export type Language = "en" | "zh"

/** What an answer is about. */
export interface Subject {
  readonly language: Language
  /** At least one topic, the weightiest words of the prompt first. */
  readonly topics: readonly [string, ...ReadonlyArray<string>]
}

const stopWords = new Set(
  ("a about after all also an and any are as at be been but by can could describe did do does each explain for from get " +
    "give had has have hello her hi his how i if in into is it its just know like list make me more most my no not of on one " +
    "only or other our out please say should show so some tell than thank that the their them then there these they this " +
    "to two up us use very want was we were what when where which who why will with word words would write you your")
    .split(" ")
)
const hanBreaks =
  /[^\p{Script=Han}]+|为什么|什么|怎么|怎样|如何|请问|请|需要|可以|能够|一个|一下|我们|你们|他们|告诉|介绍|解释|写|说明|的|了|是|在|吗|呢|吧|和|与|或|我|你|他|她|它|这|那|有|给|把|用|对|很|都|就|也|不|要|会|能|问|说|讲/gu

const language = (text: string): Language => {
  const han = text.match(/\p{Script=Han}/gu)?.length ?? 0
  const latin = text.match(/\p{Script=Latin}+/gu)?.length ?? 0
  return han > latin ? "zh" : "en"
}

export const subject = (prompt: string): Subject => {
  // The head of a long prompt says enough.
  const text = prompt.slice(0, 4_000)
  const lang = language(text)
  const [first, ...rest] = lang === "zh" ? hanTopics(text) : latinTopics(text)
  return {
    language: lang,
    topics: first === undefined ? [lang === "zh" ? "这个问题" : "this question"] : [first, ...rest]
  }
}

const latinTopics = (text: string): ReadonlyArray<string> => {
  const words = (text.match(/\p{L}[\p{L}\p{N}'’-]*/gu) ?? []).map((word) => word.replace(/['’](s)?$/, ""))
  return unique(words.filter((word) => word.length > 2 && !stopWords.has(word.toLowerCase()))).slice(0, 5)
}

const hanTopics = (text: string): ReadonlyArray<string> =>
  unique(text.split(hanBreaks).map((part) => part.slice(0, 6)).filter((part) => part !== "")).slice(0, 5)

const unique = (words: ReadonlyArray<string>): ReadonlyArray<string> => {
  const seen = new Map<string, string>()
  for (const word of words) if (!seen.has(word.toLowerCase())) seen.set(word.toLowerCase(), word)
  return [...seen.values()]
}

type Sentences = readonly [string, ...ReadonlyArray<string>]

interface Phrases {
  readonly opening: Sentences
  readonly body: Sentences
  readonly closing: Sentences
  readonly thought: Sentences
  readonly conclusion: Sentences
  readonly result: Sentences
  readonly space: string
}

const phrases: Record<Language, Phrases> = {
  en: {
    opening: [
      "The short answer on {a}: it depends on how {b} is used.",
      "At its core, {a} is about keeping {b} steady.",
      "Good question. {A} comes down to a few plain points.",
      "In practice, {a} matters most where {b} is involved."
    ],
    body: [
      "Think of {a} as the part that carries the load while {b} changes.",
      "A common mistake is to treat {a} and {b} as the same thing.",
      "Start small, measure, and adjust {a} once you see how {b} behaves.",
      "Most people notice {a} only when {b} goes wrong.",
      "Over time, {a} tends to shape {b} more than the other way round.",
      "If {b} is new to you, look at {a} first and come back to the details later.",
      "There are trade-offs: more {a} usually means less room for {b}.",
      "For a rough estimate, take {a} as given and vary only {b}."
    ],
    closing: [
      "In short, keep {a} simple and check {b} regularly.",
      "If you tell me more about {b}, I can be more precise.",
      "That is the essence of {a}.",
      "With that in mind, {a} becomes much easier to judge."
    ],
    thought: [
      "The user asks about {a}.",
      "I should say what {a} has to do with {b}.",
      "It helps to start with {a} and then turn to {b}.",
      "A short example on {b} would make this clear.",
      "I need to be careful not to confuse {a} with {b}."
    ],
    conclusion: ["Let me write a concise answer.", "That is enough to answer.", "I will keep it brief."],
    result: ["According to the result, {r}.", "Here is what came back: {r}.", "The lookup shows the following: {r}."],
    space: " "
  },
  zh: {
    opening: [
      "简单来说，{a}的关键在于{b}。",
      "这是个好问题，{a}可以从几个方面来看。",
      "总体而言，{a}与{b}关系密切。",
      "{a}之所以重要，是因为它影响着{b}。"
    ],
    body: [
      "首先，{a}为{b}提供了稳定的基础。",
      "在实际中，人们往往在{b}出现问题时才注意到{a}。",
      "其次，应当把{a}和{b}区分开来看。",
      "从长期来看，{a}会逐渐改变{b}的表现。",
      "如果刚接触{b}，建议先了解{a}，再看细节。",
      "当然也有取舍，{a}越多，留给{b}的空间就越小。"
    ],
    closing: ["总之，把握好{a}就足够了。", "如果您能补充{b}的情况，我可以说得更具体。", "以上就是关于{a}的要点。"],
    thought: [
      "用户在问{a}。",
      "先说明{a}，再谈{b}会比较清楚。",
      "这里要注意{a}与{b}的区别。",
      "最好举一个关于{b}的例子。"
    ],
    conclusion: ["下面给出简洁的回答。", "思路清楚了，可以回答。"],
    result: ["根据查询结果：{r}。", "结果显示：{r}。"],
    space: ""
  }
}

const fill = (template: string, topics: Subject["topics"], draw: Draw): string => {
  const a = draw.pick(topics)
  const others = topics.filter((topic) => topic !== a)
  const b = draw.pick([others[0] ?? a, ...others.slice(1)])
  return template.replaceAll("{a}", a).replaceAll("{A}", a.charAt(0).toUpperCase() + a.slice(1)).replaceAll("{b}", b)
}

/** Sentences of `pool` in random order, then again, until `enough` says so. */
const gather = (
  pool: Sentences,
  { topics }: Subject,
  draw: Draw,
  enough: (sentences: ReadonlyArray<string>) => boolean
): ReadonlyArray<string> => {
  const sentences: Array<string> = []
  while (!enough(sentences)) {
    for (const template of draw.shuffle(pool)) {
      if (enough(sentences)) break
      sentences.push(fill(template, topics, draw))
    }
  }
  return sentences
}

const atLeast = (tokens: number, space: string) => {
  let seen = 0
  let total = 0
  return (sentences: ReadonlyArray<string>): boolean => {
    for (; seen < sentences.length; seen++) total += Tokens.split(space + sentences[seen]).length
    return total >= tokens
  }
}

/** An answer of three to six sentences, or of at least `tokens` tokens. */
export const answer = (about: Subject, draw: Draw, tokens?: number | undefined): string => {
  const { body, closing, opening, space } = phrases[about.language]
  const length = draw.int(1, 4)
  const enough = tokens === undefined
    ? (sentences: ReadonlyArray<string>) => sentences.length >= length
    : atLeast(tokens, space)
  return [
    fill(draw.pick(opening), about.topics, draw),
    ...gather(body, about, draw, enough),
    fill(draw.pick(closing), about.topics, draw)
  ].join(space)
}

/** What the model thinks before it answers; longer for a higher effort. */
export const thoughts = (about: Subject, draw: Draw, sentences: number): string => {
  const { conclusion, space, thought } = phrases[about.language]
  return [...gather(thought, about, draw, (all) => all.length >= sentences), draw.pick(conclusion)].join(space)
}

/** An answer that reports what the tools returned. */
export const report = (about: Subject, results: ReadonlyArray<string>, draw: Draw): string => {
  const { closing, result, space } = phrases[about.language]
  const excerpt = results.map((text) => text.trim().slice(0, 200)).join(about.language === "zh" ? "；" : "; ")
  return [draw.pick(result).replace("{r}", () => excerpt), fill(draw.pick(closing), about.topics, draw)].join(space)
}

/** One sentence. */
export const sentence = (about: Subject, draw: Draw): string =>
  fill(draw.pick(phrases[about.language].body), about.topics, draw)
