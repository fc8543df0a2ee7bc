/**
 * Draws invoices and spoils them as a bad scanner would. The same sample gives the same pixels.
 */
import { fileURLToPath } from "node:url"
import sharp, { type Sharp } from "sharp"
import type { Defects, Item, Sample } from "./samples.ts"

const width = 1000
const height = 1180

const fonts = ["Regular", "Bold"].map((weight) =>
  fileURLToPath(new URL(`../fonts/NotoSansHans-${weight}.otf`, import.meta.resolve("@embedpdf/fonts-sc")))
)

/** A text that is drawn with a font's file makes the font known, also to SVG: the machine needs no font of its own. */
const loadFonts = () => Promise.all(fonts.map((fontfile) => sharp({ text: { text: "0", fontfile } }).toBuffer()))

const words = {
  en: {
    title: "INVOICE",
    number: "Invoice No.",
    date: "Date",
    seller: "From",
    buyer: "Bill to",
    currency: "Currency",
    columns: ["Description", "Qty", "Unit price", "Price"],
    net: "Subtotal",
    tax: "VAT",
    amount: "Total due"
  },
  zh: {
    title: "发票",
    number: "发票号码",
    date: "开票日期",
    seller: "销售方",
    buyer: "购买方",
    currency: "币种",
    columns: ["项目名称", "数量", "单价", "金额"],
    net: "合计金额",
    tax: "税额",
    amount: "价税合计"
  }
} as const

const signs = { CNY: "¥", EUR: "€", USD: "$" } as const

const plain = (amount: number) => amount.toFixed(2).replace(/\B(?=(\d{3})+\.)/g, ",")

const dateOf = ({ invoice: { date }, language }: Sample): string =>
  language === "zh" ? date.replace(/(\d+)-(\d+)-(\d+)/, "$1年$2月$3日") : date

const escaped = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;")

interface Style {
  readonly size?: number
  readonly bold?: boolean
  /** Whether the text ends at `x`. */
  readonly right?: boolean
}

const text = (x: number, y: number, content: string, { bold = false, right = false, size = 25 }: Style = {}) =>
  `<text x="${x}" y="${y}" font-size="${size}"${bold ? " font-weight=\"bold\"" : ""}${
    right ? " text-anchor=\"end\"" : ""
  }>${escaped(content)}</text>`

const rule = (y: number) => `<path d="M70 ${y}H930" stroke="#444" stroke-width="2"/>`

const columns = [70, 560, 740, 930] as const

const row = (y: number, cells: ReadonlyArray<string>, style: Style = {}) =>
  cells.map((cell, index) => text(columns[index] ?? 0, y, cell, { ...style, right: index > 0 })).join("")

const itemRow = ({ name, price, quantity }: Item, index: number) =>
  row(590 + index * 52, [name, String(quantity), plain(price), plain(price * quantity)])

const svgOf = (sample: Sample): string => {
  const { invoice, items, language } = sample
  const says = words[language]
  const money = (amount: number) => `${signs[invoice.currency]}${plain(amount)}`
  const end = 600 + items.length * 52
  const sums = [says.net, says.tax, says.amount].map((label, index) => ({ label, y: end + 62 + index * 58 }))
  const amounts = [invoice.net, invoice.tax, invoice.amount]
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="Noto Sans S Chinese" fill="#1c1c24">
<rect width="100%" height="100%" fill="#fff"/>
${text(70, 130, says.title, { size: 54, bold: true })}
${text(930, 100, `${says.number}: ${invoice.number}`, { right: true })}
${text(930, 145, `${says.date}: ${dateOf(sample)}`, { right: true })}
${rule(185)}
${text(70, 255, `${says.seller}: ${invoice.seller}`, { size: 28 })}
${text(70, 315, `${says.buyer}: ${invoice.buyer}`, { size: 28 })}
${text(70, 400, `${says.currency}: ${invoice.currency}`)}
${rule(450)}
${row(500, says.columns, { bold: true })}
${rule(525)}
${items.map(itemRow).join("")}
${rule(end)}
${
    sums.map(({ label, y }, index) => {
      const style = { bold: index === 2, size: index === 2 ? 30 : 25 }
      return text(500, y, label, style) + text(930, y, money(amounts[index] ?? 0), { ...style, right: true })
    }).join("")
  }
</svg>`
}

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
const random = (seed: number) => () => {
  seed = (seed + 0x6d2b79f5) | 0
  let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
}

/** Adds grain that is nearly normal: the sum of four even draws. */
const grain = (pixels: Uint8Array, deviation: number, next: () => number) => {
  const scale = deviation * Math.sqrt(3)
  return new Uint8ClampedArray(pixels).map((pixel) => pixel + (next() + next() + next() + next() - 2) * scale)
}

const spoil = async (picture: Sharp, { blur, contrast = 1, noise = 0, skew = 0 }: Defects, seed: number) => {
  const paper = "#fff"
  const grey = await picture.flatten({ background: paper }).toColourspace("b-w").png().toBuffer()
  const turned = sharp(grey).rotate(skew, { background: paper })
  const { data, info } = await (blur === undefined ? turned : turned.blur(blur))
    .linear(contrast, 225 * (1 - contrast))
    .toColourspace("b-w")
    .raw()
    .toBuffer({ resolveWithObject: true })
  const { channels, height, width } = info
  return sharp(noise === 0 ? data : grain(data, noise, random(seed)), { raw: { channels, height, width } })
}

/** The scans as JPEG, in the order of the samples. */
export const draw = async (samples: ReadonlyArray<Sample>): Promise<ReadonlyArray<Uint8Array>> => {
  await loadFonts()
  return Promise.all(
    samples.map(async (sample, index) =>
      (await spoil(sharp(Buffer.from(svgOf(sample))), sample.defects, index)).jpeg({ quality: 85 }).toBuffer()
    )
  )
}
