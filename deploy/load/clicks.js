// Visitors at a steady rate: people and bots, links and misspelt ones. Redirects are not followed.
import http from "k6/http";
import { check } from "k6";

export const options = {
  scenarios: {
    visitors: {
      executor: "constant-arrival-rate",
      rate: Number(__ENV.RATE),
      timeUnit: "1s",
      duration: `${__ENV.SECONDS}s`,
      preAllocatedVUs: 50,
    },
  },
  thresholds: { checks: ["rate==1"], http_req_duration: ["p(99)<100"] },
};

const paths = ["/spring", "/spring", "/spring", "/docs", "/docs", "/talk", "/sprnig"];
const agents = [
  "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
  "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1",
  "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
];
const referrers = ["", "https://t.co/x", "https://news.example/", "https://www.google.com/"];
const one = (list) => list[Math.floor(Math.random() * list.length)];

export default function () {
  const path = one(paths);
  const headers = { "User-Agent": one(agents) };
  const referrer = one(referrers);
  if (referrer) headers.Referer = referrer;
  const answer = http.get(`${__ENV.TARGET}${path}`, { headers, redirects: 0 });
  check(answer, { answered: (it) => it.status === (path === "/sprnig" ? 404 : 302) });
}
