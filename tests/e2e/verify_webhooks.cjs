// Reads deliveries as JSON lines, {"secret", "headers", "body"}, and says for each whether the Standard Webhooks
// library takes it.
const { createInterface } = require("node:readline");
const { Webhook } = require("standardwebhooks");

createInterface({ input: process.stdin }).on("line", (line) => {
  const { secret, headers, body } = JSON.parse(line);
  try {
    new Webhook(secret).verify(body, headers);
    console.log("ok");
  } catch (error) {
    console.log(String(error.message));
  }
});
