/** Pairs of questions, and whether the answer of one answers the other: what a semantic cache is tried out with. */
import type { Pair } from "./evaluation.ts"

const pairs = (kind: string, all: ReadonlyArray<readonly [string, string]>): ReadonlyArray<Pair> =>
  all.map(([a, b]) => ({ kind, same: kind === "paraphrase", a, b }))

export const all: ReadonlyArray<Pair> = [
  ...pairs("paraphrase", [
    ["How do I reset my password?", "How can I reset my password?"],
    ["How do I reset my password?", "Please tell me how to reset my password"],
    ["What is the capital of France?", "Tell me the capital of France."],
    ["What is the capital of France?", "France's capital, what is it?"],
    ["Can I get a refund for order 4711?", "Is a refund possible for order 4711?"],
    ["Export 1,000 rows as CSV", "Please export 1000 rows as CSV."],
    ["What does the error `ECONNRESET` mean?", "What is the meaning of the error `ECONNRESET`?"],
    ["Why can't I log in?", "Why am I not able to log in?"],
    ["When is the shop in Berlin open?", "When does the shop in Berlin open?"],
    ["Summarize the report in three sentences", "Summarize the report in 3 sentences, please"],
    ["怎么重置密码?", "请问如何重置密码？"],
    ["怎么重置密码?", "我想重置我的密码,怎么做呢?"],
    ["法国的首都是哪里?", "请问法国的首都是哪里呢？"],
    ["订单4711能不能退款?", "订单4711可以退款吗?"],
    ["Python 怎么读取文件?", "如何用python读取文件?"],
    ["两百元以内的耳机有哪些?", "200元以内的耳机有哪些?"]
  ]),
  ...pairs("negation", [
    ["Which plans include support?", "Which plans do not include support?"],
    ["Can I cancel with a fee?", "Can I cancel without a fee?"],
    ["Is the API available in this region?", "Isn't the API available in this region?"],
    ["Do I need a visa?", "Do I never need a visa?"],
    ["哪些食物含有糖?", "哪些食物不含有糖?"],
    ["我收到了退款怎么办?", "我没收到退款怎么办?"],
    ["已付款的订单", "未付款的订单"]
  ]),
  ...pairs("number", [
    ["Convert 5 km to miles", "Convert 50 km to miles"],
    ["What is 12 % of 300?", "What is 12 of 300?"],
    ["Name three rivers in Asia", "Name five rivers in Asia"],
    ["How far is it from 3 to 5?", "How far is it from 5 to 3?"],
    ["Who was the first president?", "Who was the 3rd president?"],
    ["推荐三本书", "推荐五本书"],
    ["2025年的假期安排", "2026年的假期安排"],
    ["一百二十元打八折是多少?", "一百三十元打八折是多少?"]
  ]),
  ...pairs("name", [
    ["What is the weather in Paris?", "What is the weather in Berlin?"],
    ["what is the weather in paris", "what is the weather in berlin"],
    ["Does Alice owe Bob money?", "Does Bob owe Alice money?"],
    ["Is GPT-4 faster than V3?", "Is GPT-5 faster than V3?"],
    ["How do I install Node on my machine?", "How do I install Deno on my machine?"],
    ["北京的天气怎么样?", "上海的天气怎么样?"],
    ["Java 怎么读取文件?", "Python 怎么读取文件?"],
    ["张三的电话是多少?", "李四的电话是多少?"]
  ]),
  ...pairs("quote", [
    ["Translate \"good morning\" to German", "Translate \"good night\" to German"],
    ["What does `git reset` do?", "What does `git revert` do?"],
    ["《红楼梦》的作者是谁?", "《西游记》的作者是谁?"],
    ["把“早上好”翻译成英文", "把“晚上好”翻译成英文"]
  ]),
  ...pairs("opposite", [
    ["How do I enable two-factor login?", "How do I disable two-factor login?"],
    ["What should I eat before a run?", "What should I eat after a run?"],
    ["Is it possible to pay later?", "Is it impossible to pay later?"],
    ["怎么打开通知?", "怎么关闭通知?"],
    ["这个城市的最高气温是多少?", "这个城市的最低气温是多少?"]
  ]),
  ...pairs("near miss", [
    ["How do I change my password?", "How do I change my email address?"],
    ["Who wrote the report about sales?", "Who reads the report about sales?"],
    ["Why is the sky blue?", "Why is the sea blue?"],
    ["How do I delete a file?", "How do I delete a file that is open in another program?"],
    ["flights from paris to london in may", "flights from london to paris in may"],
    ["从北京到上海怎么走?", "从上海到北京怎么走?"],
    ["怎么修改密码?", "怎么修改邮箱?"],
    ["感冒了吃什么药?", "感冒了能吃什么水果?"]
  ])
]
