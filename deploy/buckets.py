"""Create the project's missing buckets on the S3 server of AWS_ENDPOINT_URL."""

import boto3

BUCKETS = ("cfnsr-dvc", "cfnsr-mlflow", "cfnsr-raw")

if __name__ == "__main__":
    client = boto3.client("s3")
    present = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    for name in BUCKETS:
        if name not in present:
            client.create_bucket(Bucket=name)
            print(f"s3://{name} created")
