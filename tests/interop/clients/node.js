// Usage: node node.js VERSION PORT HOST FOLDER CERTIFICATE
const fs = require("fs");
const https = require("https");
const path = require("path");

const [version, port, host, folder, certificate] = process.argv.slice(2);
const file = (name) => fs.readFileSync(path.join(folder, name));
const keys = certificate === "none" ? {} : { cert: file(`${certificate}.pem`), key: file(`${certificate}.key`) };
// An agent keeps sessions, here without keeping connections.
const agent = new https.Agent({ keepAlive: false });

function get() {
  return new Promise((resolve, reject) => {
    const options = {
      agent, ca: file("ca.pem"), headers: { host }, host: "127.0.0.1", port, servername: host,
      minVersion: `TLSv${version}`, maxVersion: `TLSv${version}`, ...keys,
    };
    const request = https.get(options, (response) => {
      const how = response.socket.isSessionReused() ? "resumed" : "full";
      response.resume().on("end", () => resolve(`${response.statusCode} ${how}`));
    });
    request.on("error", reject);
  });
}

get().then(console.log).then(get).then(console.log).catch((error) => {
  console.error(error);
  process.exit(1);
});
