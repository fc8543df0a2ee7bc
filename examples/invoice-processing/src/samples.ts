/** The invoices that the example draws, so that what is read can be compared with what was drawn. */
import type { Field, Invoice } from "./Invoice.ts"

/** An invoice on which everything stands. */
export type Whole = { readonly [K in Field]: NonNullable<Invoice[K]> }

/** One line of an invoice. */
export interface Item {
  readonly name: string
  readonly quantity: number
  /** Price of one. */
  readonly price: number
}

/** What is wrong with a scan. */
export interface Defects {
  /** Degrees, clockwise. */
  readonly skew?: number
  /** Standard deviation of the grain, of 255. */
  readonly noise?: number
  /** Standard deviation of the blur, in pixels. */
  readonly blur?: number
  /** Share of the contrast that is left, 0 to 1. */
  readonly contrast?: number
}

export interface Sample {
  readonly name: string
  readonly language: "en" | "zh"
  readonly invoice: Whole
  readonly items: ReadonlyArray<Item>
  readonly defects: Defects
}

const round = (amount: number) => Math.round(amount * 100) / 100

const sample = (
  name: string,
  language: Sample["language"],
  { rate, ...head }: Omit<Whole, "net" | "tax" | "amount"> & { readonly rate: number },
  items: ReadonlyArray<Item>,
  defects: Defects = {}
): Sample => {
  const net = round(items.reduce((sum, { price, quantity }) => sum + price * quantity, 0))
  const tax = round(net * rate)
  return { name, language, items, defects, invoice: { ...head, net, tax, amount: round(net + tax) } }
}

export const samples: ReadonlyArray<Sample> = [
  sample("en-clean-small", "en", {
    number: "INV-2026-0417",
    date: "2026-04-17",
    seller: "Harbour Office Supplies Ltd",
    buyer: "Northwind Trading GmbH",
    currency: "EUR",
    rate: 0.19
  }, [{ name: "Paper A4, box of 5", quantity: 4, price: 21.5 }, { name: "Toner black", quantity: 1, price: 64.9 }]),
  sample("en-clean-large", "en", {
    number: "US-77120",
    date: "2026-09-02",
    seller: "Keel & Sons Shipyard Inc",
    buyer: "Atlantic Freight Lines",
    currency: "USD",
    rate: 0.07
  }, [
    { name: "Hull inspection", quantity: 3, price: 2150 },
    { name: "Ballast pump BP-40", quantity: 2, price: 8799.5 },
    { name: "Dry dock, per day", quantity: 6, price: 1340 }
  ]),
  sample("zh-clean-small", "zh", {
    number: "03120087",
    date: "2026-03-08",
    seller: "杭州西湖茶叶有限公司",
    buyer: "上海远航贸易有限公司",
    currency: "CNY",
    rate: 0.13
  }, [{ name: "龙井茶 250克", quantity: 2, price: 168 }, { name: "茶具套装", quantity: 1, price: 329 }]),
  sample("zh-clean-large", "zh", {
    number: "24417093",
    date: "2026-10-26",
    seller: "深圳蓝海电子科技有限公司",
    buyer: "北京时代软件有限公司",
    currency: "CNY",
    rate: 0.13
  }, [
    { name: "服务器机柜", quantity: 4, price: 12800 },
    { name: "网络交换机", quantity: 10, price: 2360 },
    { name: "安装调试费", quantity: 1, price: 5600 }
  ]),
  sample(
    "en-noisy",
    "en",
    {
      number: "R-10093",
      date: "2026-01-31",
      seller: "Lighthouse Cloud Services",
      buyer: "Meridian Insurance AG",
      currency: "EUR",
      rate: 0.21
    },
    [{ name: "Storage, 12 TB", quantity: 12, price: 23.9 }, { name: "Support plan", quantity: 1, price: 180 }],
    {
      noise: 28
    }
  ),
  sample(
    "zh-noisy",
    "zh",
    {
      number: "55680231",
      date: "2026-06-15",
      seller: "成都锦城印刷厂",
      buyer: "重庆山城文化传媒有限公司",
      currency: "CNY",
      rate: 0.06
    },
    [{ name: "宣传画册", quantity: 300, price: 6.8 }, { name: "名片印刷", quantity: 20, price: 25 }],
    { noise: 28 }
  ),
  sample(
    "en-skewed",
    "en",
    {
      number: "2026/338",
      date: "2026-07-20",
      seller: "Compass Translations",
      buyer: "Baltic Software House",
      currency: "EUR",
      rate: 0.2
    },
    [{ name: "Manual, 48 pages", quantity: 48, price: 31.25 }, { name: "Proof reading", quantity: 6, price: 42 }],
    {
      skew: 3.4
    }
  ),
  sample(
    "zh-skewed",
    "zh",
    {
      number: "71904426",
      date: "2026-11-11",
      seller: "青岛海运物流有限公司",
      buyer: "天津港口机械有限公司",
      currency: "CNY",
      rate: 0.09
    },
    [{ name: "集装箱运费", quantity: 3, price: 4580 }, { name: "装卸费", quantity: 3, price: 360 }],
    { skew: -4.2 }
  ),
  sample(
    "en-faint",
    "en",
    {
      number: "A-4471-26",
      date: "2026-02-27",
      seller: "Anchor Catering Co",
      buyer: "Harbour Conference Centre",
      currency: "USD",
      rate: 0.08
    },
    [{ name: "Lunch buffet", quantity: 35, price: 18.4 }, { name: "Coffee service", quantity: 35, price: 4.2 }],
    {
      contrast: 0.22,
      noise: 4
    }
  ),
  sample(
    "zh-blurred",
    "zh",
    {
      number: "18830654",
      date: "2026-08-19",
      seller: "广州白云酒店",
      buyer: "厦门鹭岛旅行社",
      currency: "CNY",
      rate: 0.06
    },
    [{ name: "会议室租赁", quantity: 2, price: 1500 }, { name: "住宿费", quantity: 8, price: 428 }],
    {
      blur: 1.3,
      noise: 8
    }
  ),
  sample(
    "en-hard",
    "en",
    {
      number: "INV-90017",
      date: "2026-12-05",
      seller: "Fathom Diving Equipment",
      buyer: "Coastal Rescue Service",
      currency: "EUR",
      rate: 0.19
    },
    [{ name: "Dry suit", quantity: 5, price: 689 }, { name: "Regulator set", quantity: 5, price: 412.8 }],
    {
      skew: -2.6,
      noise: 34,
      blur: 0.8,
      contrast: 0.6
    }
  ),
  sample(
    "zh-hard",
    "zh",
    {
      number: "40276915",
      date: "2026-05-23",
      seller: "武汉长江重工集团",
      buyer: "南京紫金建筑工程有限公司",
      currency: "CNY",
      rate: 0.13
    },
    [{ name: "塔式起重机租赁", quantity: 2, price: 36500 }, { name: "现场维护", quantity: 14, price: 850 }],
    {
      skew: 2.2,
      noise: 34,
      blur: 0.8,
      contrast: 0.6
    }
  )
]
