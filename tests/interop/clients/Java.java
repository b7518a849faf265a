import java.io.FileInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.TrustManagerFactory;

/** Usage: java Java.java VERSION PORT HOST FOLDER CERTIFICATE */
public class Java {
    static Certificate certificate(Path file) throws Exception {
        try (var stream = new FileInputStream(file.toFile())) {
            return CertificateFactory.getInstance("X.509").generateCertificate(stream);
        }
    }

    static KeyStore empty() throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        return store;
    }

    public static void main(String[] args) throws Exception {
        String version = args[0], port = args[1], host = args[2], name = args[4];
        Path folder = Path.of(args[3]);
        KeyStore trusted = empty();
        trusted.setCertificateEntry("ca", certificate(folder.resolve("ca.pem")));
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(trusted);
        KeyStore own = empty();
        if (!name.equals("none")) {
            String pem = Files.readString(folder.resolve(name + ".key")).replaceAll("-----[^-]*-----|\\s", "");
            var key = KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(pem)));
            own.setKeyEntry("client", key, new char[0], new Certificate[] {certificate(folder.resolve(name + ".pem"))});
        }
        KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keys.init(own, new char[0]);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), trust.getTrustManagers(), null);
        SSLParameters parameters = new SSLParameters();
        parameters.setProtocols(new String[] {"TLSv" + version});
        URI uri = URI.create("https://" + host + ":" + port + "/");
        for (int i = 0; i < 2; i++) {
            HttpClient client = HttpClient.newBuilder().sslContext(context).sslParameters(parameters).build();
            var response = client.send(HttpRequest.newBuilder(uri).build(), BodyHandlers.ofString());
            System.out.println(response.statusCode() + " unknown");
        }
    }
}
