/** What a question consists of, in English and Chinese: numbers, quotes, names, negations, opposites, words. */

const set = (text: string): ReadonlySet<string> => new Set(text.split(" "))

const sameQuestionWords: ReadonlyArray<readonly [RegExp, string]> = [
  [/如何|怎样|怎么样|咋/gu, "怎么"],
  [/为何|为啥/gu, "为什么"],
  [/何时/gu, "什么时候"],
  [/哪儿|何处/gu, "哪里"]
]

/** One spelling for what is written in several ways. */
export const plain = (text: string): string =>
  sameQuestionWords.reduce(
    (text, [pattern, word]) => text.replace(pattern, word),
    text.normalize("NFKC").replace(/[’ʼ]/g, "'")
  )

const han = /^\p{Script=Han}$/u
export const isHan = (word: string): boolean => han.test(word)

export interface Word {
  readonly word: string
  /** Whether it begins a sentence. */
  readonly first: boolean
}

// Letters and digits of all scripts but Chinese, joined as in `user_id`, `a.b`, `can't` and `C++`.
const pattern =
  /\p{Script=Han}|(?:(?!\p{Script=Han})[\p{L}\p{N}_])+(?:['.\-/@:](?:(?!\p{Script=Han})[\p{L}\p{N}_])+)*[+#]{0,2}/gu

export const split = (text: string): ReadonlyArray<Word> => {
  let end = 0
  return Array.from(text.matchAll(pattern), ({ 0: word, index }) => {
    const first = end === 0 || /[.!?。:\n]/.test(text.slice(end, index))
    end = index + word.length
    return { word, first }
  })
}

// Numbers.

const [digit, ten] = [
  new Map(Array.from("零一二三四五六七八九", (sign, value) => [sign, value])),
  new Map([
    ["十", 10],
    ["百", 100],
    ["千", 1000]
  ])
]
digit.set("〇", 0).set("两", 2)

/** The value of a Chinese numeral. */
const valueOf = (numeral: string): number => {
  if (!/[十百千万亿]/u.test(numeral)) return Number(Array.from(numeral, (sign) => digit.get(sign) ?? 0).join(""))
  let [sum, section, last] = [0, 0, 0]
  for (const sign of numeral) {
    const large = sign === "万" ? 1e4 : sign === "亿" ? 1e8 : undefined
    if (large !== undefined) {
      sum = (sum + section + last || 1) * large
      section = last = 0
    } else if (ten.has(sign)) {
      section += (last || 1) * (ten.get(sign) ?? 1)
      last = 0
    } else last = digit.get(sign) ?? 0
  }
  return sum + section + last
}

const counted =
  "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
const ordinals = "zeroth first second third fourth fifth sixth seventh eighth ninth tenth"
const numberWords = new Map<string, string>([
  ...counted.split(" ").map((word, value): [string, string] => [word, String(value)]),
  ...ordinals.split(" ").map((word, value): [string, string] => [word, `#${value}`]),
  ..."twenty thirty forty fifty sixty seventy eighty ninety".split(" ").map((word, at): [string, string] => [
    word,
    String((at + 2) * 10)
  ]),
  ["hundred", "100"],
  ["thousand", "1000"],
  ["million", "1000000"],
  ["billion", "1000000000"],
  ["half", "0.5"],
  ["dozen", "12"],
  ["twice", "2x"],
  ["double", "2x"],
  ["triple", "3x"]
])
// `one` is more often a pronoun than a number.
numberWords.delete("one")

const units = set(
  "% ° kg g mg lb oz km m cm mm mi ft l ml b kb mb gb tb ms s h c f usd eur gbp cny rmb x st nd rd th am pm"
)

const numeral =
  /(?<![\w.])(-?\d+(?:[.,:/-]\d+)*)(?:\s?(%|°?[a-z]{1,3}(?![a-z])))?|(第?)([零〇一二三四五六七八九十百千万亿两]+)|(?<![a-z])([a-z]{3,9})(?![a-z])/giu

/** Whether a word is a number with nothing else than its unit. */
const isNumber = (word: string): boolean => {
  const [, unit] = /^\d[\d.,:/-]*([a-z]*)$/i.exec(word) ?? []
  return unit !== undefined && (unit === "" || units.has(unit.toLowerCase()))
}

/** Words with a numeral that count nothing. */
const uncounted = /一[下样般起些直定切旦致个种]|[万统唯第]一(?=[\p{Script=Han}])(?<!第一)|十分|千万别|两者/gu

/** Numbers in their order. */
export const numbers = (text: string): ReadonlyArray<string> => {
  const found: Array<string> = []
  for (const [, figures, unit = "", ordinal, chinese, word] of text.replace(uncounted, " ").matchAll(numeral)) {
    if (figures !== undefined) {
      const number = figures.replace(/,(?=\d{3}(?!\d))/g, "").replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "")
      const known = unit.toLowerCase()
      if (/^(?:st|nd|rd|th)$/.test(known)) found.push(`#${number}`)
      else found.push(units.has(known) ? `${number} ${known}` : number)
    } else if (chinese !== undefined) {
      if (chinese !== "一" || ordinal !== "") found.push(`${ordinal === "" ? "" : "#"}${valueOf(chinese)}`)
    } else {
      const value = numberWords.get(word?.toLowerCase() ?? "")
      if (value !== undefined) found.push(value)
    }
  }
  return found
}

// Quotes.

const quoted =
  /"([^"]+)"|“([^”]+)”|‘([^’]+)’|`([^`]+)`|「([^」]+)」|『([^』]+)』|《([^》]+)》|«([^»]+)»|(?<!\w)'([^']+)'(?!\w)/gu

/** What stands in marks, in its order. */
export const quotes = (text: string): ReadonlyArray<string> =>
  Array.from(text.matchAll(quoted), (found) => (found.slice(1).find((part) => part !== undefined) ?? "").trim())

// Names.

/** Words that begin a sentence with a capital and are no names. */
const openers = set(
  "a about after all also am an and any are as at be before but by can can't cannot could couldn't describe did didn't do does doesn't don't during "
    + "each every explain find for from get give had has have hello help here hey hi how however i i'd i'll i'm i've if in is isn't it it's its just "
    + "let let's list make many may me most much must my name no not now of ok on once one or our please put say shall she should show since so some "
    + "suggest summarize tell than thanks that that's the their then there there's these they this those to translate under was we we're were what what's "
    + "when when's where where's whether which while who who's whose why will with without won't would write yes you your"
)

const isNamed = ({ first, word }: Word, inChinese: boolean): boolean => {
  if (isHan(word) || isNumber(word)) return false
  if (inChinese || /[_@/+#]|\p{L}\.\p{L}|\p{N}\p{L}|\p{L}-?\p{N}|\p{Ll}\p{Lu}/u.test(word)) return true
  if (!/^\p{Lu}/u.test(word)) return false
  return word === "I" || word.startsWith("I'") ? false : !first || !openers.has(word.toLowerCase())
}

export const names = (all: ReadonlyArray<Word>, text: string): ReadonlySet<string> => {
  const inChinese = /\p{Script=Han}/u.test(text)
  return new Set(
    all.filter((word) => isNamed(word, inChinese)).map(({ word }) => word.toLowerCase().replace(/'s$/, ""))
  )
}

// Negations.

const negative = set(
  "not no never none nobody nothing nowhere neither nor without cannot cant dont doesnt didnt isnt wont shouldnt wouldnt couldnt except unless hardly "
    + "stop avoid prevent fail fails failed lack lacks lacking excluding"
)
const negativeHan = /[不没非無无未别勿莫否毋]/gu
const deniesHan = new RegExp(`^${negativeHan.source}$`, "u")
/** Words with such a character that deny nothing, and the question `A 不 A`. */
const affirmative =
  /(\p{Script=Han})[不没]\1|[是能可]否|有没有|非常|未来|特别|别人|区别|类别|级别|性别|别的|分别|辨别|识别|不仅|不但|不管|不论|无论|不过|对不起|差不多|不同|无线|否则|莫非|非洲/gu

const isNegative = (word: string): boolean => negative.has(word) || word.endsWith("n't") || word.startsWith("non-")

/** How often a text denies. */
export const negations = (lower: ReadonlyArray<string>, text: string): number =>
  lower.filter(isNegative).length +
  (text.replace(affirmative, " ").match(negativeHan)?.length ?? 0)

// Opposites.

/** Beginnings of English words; Chinese words. */
const pairs: ReadonlyArray<readonly [string, string]> =
  "enabl disabl|increas decreas|before after|max min|first last|start end|open clos|buy sell|import export|encrypt decrypt|encod decod|upload download|"
    .concat(
      "add remov|creat delet|install uninstall|lock unlock|allow deny|allow block|more less|more fewer|most least|above below|over under|inside outside|",
      "advantage disadvantage|pros cons|best worst|high low|fast slow|cheap expensive|send receiv|push pull|read writ|left right|up down|true false|",
      "always sometimes|all some|can must|includ exclud|subscrib unsubscrib|connect disconnect|log-in log-out|login logout|win los|old new|",
      "最大 最小|最高 最低|最好 最差|最多 最少|之前 之后|以前 以后|以上 以下|增加 减少|提高 降低|打开 关闭|开启 关闭|启用 禁用|上传 下载|买 卖|进口 出口|导入 导出|加密 解密|",
      "编码 解码|优点 缺点|开始 结束|添加 删除|创建 删除|登录 退出|安装 卸载|允许 禁止|连接 断开|升级 降级|左 右|长 短|快 慢|冷 热|男 女|可以 必须|所有 部分"
    )
    .split("|").map((pair): [string, string] => {
      const [one = "", other = ""] = pair.split(" ")
      return [one, other]
    })

/** The opposites of a text by the place of their pair, as the sequence in which they come. */
export const opposites = (lower: ReadonlyArray<string>, text: string): ReadonlyMap<number, string> => {
  const found = new Map<number, string>()
  const isChinese = /\p{Script=Han}/u.test(text)
  for (const [pair, [one, other]] of pairs.entries()) {
    const sequence = isHan(one.slice(0, 1))
      ? isChinese ? Array.from(text.matchAll(new RegExp(`${one}|${other}`, "gu")), ([word]) => word) : []
      : lower.flatMap((word) => beginsWith(word, other) ? [other] : beginsWith(word, one) ? [one] : [])
    if (sequence.length > 0) found.set(pair, sequence.join())
  }
  return found
}

/** Short ones are whole words. */
const beginsWith = (word: string, beginning: string): boolean =>
  beginning.length < 5 ? word === beginning || word === `${beginning}imum` : word.startsWith(beginning)

// Words.

const fillers = set(
  "a an the please is are was were be am do does did can could would will shall may might i i'd i'm me my we us our you your it its it's this that there "
    + "of just so also some any to have has had get able possible tell know kindly hi hello hey thanks 的 了 吗 呢 吧 啊 请 么 呀 嘛 我 你 您 们 一 下 个 是 帮 给 想 能 可 以 用"
)

const withoutEnding = (word: string): string =>
  word.length < 5 ? word.replace(/s$/, "") : word.replace(/(?:ing|ed|es|s|ly)$/, "").replace(/e$/, "")

/** Numbers and negations are compared by themselves. */
const isFiller = (word: string): boolean =>
  fillers.has(word) || numberWords.has(word) || isNumber(word) || isNegative(word) || deniesHan.test(word)

/** The words that say something, without endings and numbers. */
export const content = (lower: ReadonlyArray<string>): ReadonlyArray<string> =>
  lower.filter((word) => !isFiller(word)).map(withoutEnding)
